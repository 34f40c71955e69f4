"""Three tasks as they were written for Celery, ported."""

from datetime import timedelta

from docket import Cron, CurrentDocket, Docket, ExponentialRetry

STATUS = {"https://example.com/a": [503, 503, 200]}


class Unavailable(ConnectionError):
    """The site cannot answer now."""


# 1. autoretry_for, retry_backoff, retry_jitter


async def fetch(
    url: str,
    retry: ExponentialRetry = ExponentialRetry(
        attempts=6,  # max_retries=5, and the first attempt
        minimum_delay=timedelta(milliseconds=10),
        maximum_delay=timedelta(minutes=10),
        on=ConnectionError,
        jitter=1,
    ),
) -> int:
    status = STATUS[url][retry.attempt - 1]
    if status == 503:
        raise Unavailable(url)
    return status


# 2. chord(word_count.s(text) for text in texts)(total.s())


async def word_count(text: str) -> int:
    return len(text.split())


async def total_words(texts: list[str], docket: Docket = CurrentDocket()) -> int:
    executions = await docket.add_many(docket.call(word_count)(text) for text in texts)
    return sum([await execution.get_result() for execution in executions])


# 3. beat_schedule = {"clean": {"task": "clean_up", "schedule": crontab(minute=0, hour=3)}}

cleaned: list[str] = []


async def clean_up(folder: str = "uploads", at: Cron = Cron("0 3 * * *")) -> None:
    cleaned.append(folder)


tasks = [fetch, word_count, total_words, clean_up]
