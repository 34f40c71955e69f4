"""Retries of calls while the server is away."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from docket.errors import ServerUnavailable
from docket.store.connection.backoff import backoff_seconds
from docket.store.connection.pipeline import LostReply

Reply = TypeVar("Reply")

#: Longest wait of a producer's call (add, cancel, progress...) for an absent server, in seconds.
PATIENCE_SECONDS = 5.0


async def retry(
    call: Callable[[], Awaitable[Reply]],
    *,
    after_lost_reply: bool = True,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Reply:
    """Repeat a call until it is answered, or the time is over.

    Args:
        call: makes the call once.
        after_lost_reply: repeat it even if it may already have taken effect.
        patience_seconds: the time limit; infinity for none.

    Raises:
        ServerUnavailable: the last error, once the time is over.
    """
    give_up = time.monotonic() + patience_seconds
    failures = 0
    while True:
        try:
            return await call()
        except ServerUnavailable as error:
            if isinstance(error, LostReply) and not after_lost_reply:
                raise
            if time.monotonic() >= give_up:
                raise
            failures += 1
            # A loading server answers at once: without a pause this would spin.
            await asyncio.sleep(backoff_seconds(failures))
