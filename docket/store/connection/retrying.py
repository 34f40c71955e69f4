"""How long a caller waits for a server that is away, and when it may call again."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from docket.errors import ServerUnavailable
from docket.store.connection.endpoint import backoff_seconds
from docket.store.connection.pipeline import LostReply

Reply = TypeVar("Reply")

#: How long a call of a producer (add, cancel, progress...) waits for an absent server, in seconds.
PATIENCE_SECONDS = 5.0


async def retry(
    call: Callable[[], Awaitable[Reply]],
    *,
    after_lost_reply: bool = True,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Reply:
    """Make a call, again and again until it is answered, or the patience is at its end.

    Args:
        call: makes the call once.
        after_lost_reply: whether it may be made again when it may have taken effect already.
        patience_seconds: how long; infinite for as long as it takes.

    Raises:
        ServerUnavailable: the last one, once the patience is at its end.
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
            # A server that answers LOADING answers at once: without a pause this would spin.
            await asyncio.sleep(backoff_seconds(failures))
