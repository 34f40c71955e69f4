"""Connections that cannot be accepted: told once a minute, not by a hundred tracebacks a second.

At the limit of descriptors asyncio tries each listening socket again every second, and reports as
many failures each time as its backlog is long.
"""

import asyncio
import contextlib
import errno
import logging
import time
from collections.abc import Callable, Generator
from typing import Any

from supervisor.control.server import LogThrottle

log = logging.getLogger("supervisor.endpoints")

#: Of a loop, as asyncio has it.
ErrorHandler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]

#: Seconds between two lines.
LOG_SECONDS = 60.0

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@contextlib.contextmanager
def told_seldom() -> Generator[None]:
    """Log the accept faults of this loop seldom for as long as the block runs."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(_Handler(before))
    try:
        yield
    finally:
        loop.set_exception_handler(before)


class _Handler:
    """A handler of a loop's errors that leaves all but these to the one before."""

    def __init__(self, before: ErrorHandler | None) -> None:
        self._before = before
        self._throttle = LogThrottle(LOG_SECONDS)

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> object:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _EXHAUSTED and "socket" in context:
            self._tell(error)
        elif self._before is not None:
            self._before(loop, context)
        else:
            loop.default_exception_handler(context)
        return None

    def _tell(self, error: OSError) -> None:
        if self._throttle.skipped_before("accept", time.monotonic()) is not None:
            log.warning(
                "no connection can be accepted (%s): it is tried again every second",
                error.strerror,
            )
