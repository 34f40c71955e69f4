"""Connections that cannot be accepted: told once a minute, not by a hundred tracebacks a second.

At the limit of descriptors asyncio tries each listening socket again every second, and reports as
many failures each time as its backlog is long.
"""

import asyncio
import contextlib
import errno
import logging
import time
from collections.abc import Generator
from typing import Any

from supervisor.control.server import LogThrottle

log = logging.getLogger("supervisor.endpoints")

#: Seconds between two lines.
LOG_SECONDS = 60.0

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@contextlib.contextmanager
def told_seldom() -> Generator[None]:
    """Log the accept faults of this loop seldom for as long as the block runs."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    throttle = LogThrottle(LOG_SECONDS)

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _EXHAUSTED and "socket" in context:
            if throttle.skipped_before("accept", time.monotonic()) is not None:
                log.warning(
                    "no connection can be accepted (%s): it is tried again every second",
                    error.strerror,
                )
        elif before is not None:
            before(loop, context)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
    try:
        yield
    finally:
        loop.set_exception_handler(before)
