"""Tasks as they were written for taskiq, ported."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from docket import Cron, Depends, Docket, ExponentialRetry, Perpetual

log: list[str] = []


# 1. TaskiqDepends(connection)


@asynccontextmanager
async def connection() -> AsyncGenerator[list[str]]:
    log.append("open")
    yield log
    log.append("close")


async def insert(row: str, connection: list[str] = Depends(connection)) -> int:
    connection.append(row)
    return len(row)


# 2. SmartRetryMiddleware(use_jitter=True, use_delay_exponent=True),
#    @broker.task(retry_on_error=True, max_retries=3)


async def flaky(
    retry: ExponentialRetry = ExponentialRetry(
        attempts=3,  # max_retries=3, which counts the first attempt too
        minimum_delay=timedelta(milliseconds=5),
        jitter=0.5,
    ),
) -> int:
    if retry.attempt < 3:
        raise TimeoutError("not yet")
    return retry.attempt


# 3. @broker.task(schedule=[{"cron": "*/5 * * * *"}]), and a scheduler process


async def heartbeat(every: Cron = Cron("*/5 * * * *")) -> None:
    log.append("beat")


# 4. await digest.schedule_by_interval(source, timedelta(days=1), user)


async def digest(user: str, every: Perpetual = Perpetual(every=timedelta(days=1))) -> None:
    log.append(f"digest for {user}")


async def subscribe(docket: Docket, user: str) -> None:
    await docket.add(digest, key=f"digest-{user}")(user)  # runs now, and then every day


async def unsubscribe(docket: Docket, user: str) -> None:
    await docket.cancel(f"digest-{user}")


tasks = [insert, flaky, heartbeat, digest]
