"""Jobs as they were written for arq, ported: `ctx` becomes dependencies."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from docket import Cron, Retry, Shared, TaskKey

closed: list[str] = []
woken: list[str] = []


class Session:
    """What stands for a session of an HTTP client."""

    async def get(self, url: str) -> str:
        return f"content of {url}"


# 1. on_startup puts ctx["session"], on_shutdown closes it


@asynccontextmanager
async def open_session() -> AsyncGenerator[Session]:
    yield Session()  # once for each worker, when the first task asks for it
    closed.append("session")


async def download(url: str, session: Session = Shared(open_session)) -> int:
    return len(await session.get(url))


# 2. raise Retry(defer=ctx["job_try"] * 5); max_tries = 5


# on=() retries no exception by itself, as in arq: only retry.after and the like do.
async def call(number: str, retry: Retry = Retry(attempts=5, on=())) -> int:
    if not number.isdigit():
        raise ValueError(number)  # fails at once
    if retry.attempt < 3:
        retry.after(timedelta(milliseconds=5 * retry.attempt))
    return retry.attempt


# 3. cron_jobs = [cron(wake, hour=7, minute=30)], and ctx["job_id"]


async def wake(key: str = TaskKey(), at: Cron = Cron("30 7 * * *")) -> None:
    woken.append(key)


tasks = [download, call, wake]
