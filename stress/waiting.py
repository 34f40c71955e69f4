"""Polled conditions, repeated calls, and work in the background."""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from redis.exceptions import RedisError

from docket.errors import DocketError

Reply = TypeVar("Reply")

#: Errors of a call to a server that is away.
UNANSWERED = (DocketError, RedisError, OSError)


async def eventually(
    condition: Callable[[], Awaitable[Reply]],
    seconds: float,
    *,
    every: float,
    despite: tuple[type[Exception], ...] = (),
) -> Reply:
    """Poll a condition until it returns something true, and return that.

    Arguments:
        despite: errors that only mean "not yet".

    Raises:
        TimeoutError: it did not hold within `seconds`.
    """
    async with asyncio.timeout(seconds):
        while True:
            with contextlib.suppress(*despite):
                if found := await condition():
                    return found
            await asyncio.sleep(every)


async def repeat(
    look: Callable[[], Awaitable[object]],
    every: float,
    despite: tuple[type[Exception], ...] = (),
) -> None:
    """Call `look` again and again until cancelled."""
    while True:
        with contextlib.suppress(*despite):
            await look()
        await asyncio.sleep(every)


async def insist(
    call: Callable[[], Awaitable[Reply]],
    *,
    draw: random.Random | None = None,
    failed: Callable[[], object] = lambda: None,
) -> Reply:
    """Call until the server answers, and return the reply.

    Arguments:
        draw: decides the pauses; by default the module's own.
        failed: called after each pause, before the next attempt.
    """
    uniform = random.uniform if draw is None else draw.uniform
    while True:
        try:
            return await call()
        except UNANSWERED:
            await asyncio.sleep(uniform(0.05, 0.5))
            failed()


@contextlib.asynccontextmanager
async def in_background(*works: Coroutine[Any, Any, object]) -> AsyncGenerator[None]:
    """Run coroutines during the block, and cancel them after it.

    Raises:
        ExceptionGroup: one of them failed, which cancels the block, or the block itself did.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
