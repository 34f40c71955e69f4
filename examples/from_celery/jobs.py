"""Tasks as they were written for Celery, ported."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

from docket import Cron, CurrentDocket, Depends, Docket, ExponentialRetry, Perpetual

STATUS = {"https://example.com/a": [503, 503, 200]}


class Unavailable(ConnectionError):
    """The site cannot answer now."""


# 1. autoretry_for, retry_backoff, retry_jitter


async def fetch(
    url: str,
    retry: ExponentialRetry = ExponentialRetry(
        attempts=6,  # max_retries=5, and the first attempt
        minimum_delay=timedelta(milliseconds=10),  # a second for retry_backoff=True
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


# 3. chain(charge.s(7), render.s(), mail.s()).apply_async(link_error=alarm.s())

sent: list[str] = []
alarms: list[str] = []


@contextmanager
def alarm_on_failure() -> Generator[None]:
    try:
        yield
    except Exception as error:  # of each attempt, if the task has a Retry
        alarms.append(str(error))
        raise


def charge(
    order: int, docket: Docket = CurrentDocket(), alarm: None = Depends(alarm_on_failure)
) -> None:
    if order == 13:
        raise ValueError("the card has expired")
    # The next step has a key: if this task runs twice, that step is still added once.
    docket.sync().add(render, key=f"render-{order}")(order, f"receipt {order}")


def render(order: int, receipt: str, docket: Docket = CurrentDocket()) -> None:
    docket.sync().add(mail, key=f"mail-{order}")(f"{receipt}.pdf")


async def mail(path: str) -> None:
    sent.append(path)


# 4. beat_schedule with crontab(minute=0, hour=3), and with 30.0 seconds

cleaned: list[str] = []
polled: list[str] = []


async def clean_up(
    folder: str = "uploads", at: Cron = Cron("0 3 * * *", tz="Europe/Berlin")
) -> None:
    cleaned.append(folder)


async def poll(
    every: Perpetual = Perpetual(every=timedelta(seconds=30), automatic=True),
) -> None:
    polled.append("polled")


tasks = [fetch, word_count, total_words, charge, render, mail, clean_up, poll]
