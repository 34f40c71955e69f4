"""Three tasks as they were written for pydocket. Nothing in them has changed."""

import logging
from datetime import timedelta
from typing import Annotated

from docket import (
    ConcurrencyLimit,
    CurrentDocket,
    Docket,
    ExponentialRetry,
    Logged,
    Perpetual,
    TaskLogger,
)

polled: list[int] = []


async def greet(
    name: Annotated[str, Logged()],
    greeting: str = "Hello",
    logger: "logging.LoggerAdapter[logging.Logger]" = TaskLogger(),
) -> str:
    logger.info("greeting")
    return f"{greeting}, {name}!"


async def charge(
    customer_id: int,
    limit: ConcurrencyLimit = ConcurrencyLimit("customer_id", max_concurrent=1),
    retry: ExponentialRetry = ExponentialRetry(attempts=3, minimum_delay=timedelta(milliseconds=5)),
) -> int:
    if retry.attempt < 2:
        raise ConnectionError("the bank is away")
    return customer_id


async def poll(
    docket: Docket = CurrentDocket(),
    perpetual: Perpetual = Perpetual(every=timedelta(milliseconds=5), automatic=True),
) -> None:
    polled.append(1)
    await docket.add(greet, key=f"greet-{len(polled)}")("poller")


tasks = [greet, charge, poll]
