"""The server of a measurement: an embedded one, or one that runs already."""

import contextlib
from collections.abc import AsyncGenerator, Generator
from uuid import uuid4

from redis.asyncio import Redis

from docket.store.embedded import embedded_server

#: Keys removed in one call, so that cleaning up never blocks a server that others use too.
UNLINK_CHUNK = 1000


@contextlib.contextmanager
def server(url: str | None) -> Generator[str]:
    """Provide the URL of a server for the time of the block.

    Arguments:
        url: a running server; None starts an embedded one.
    """
    if url is not None:
        yield url
        return
    running = embedded_server.start(f"memory://stress-{uuid4().hex}")
    try:
        yield running.url
    finally:
        running.stop()


@contextlib.asynccontextmanager
async def docket_name(url: str) -> AsyncGenerator[str]:
    """Provide a new docket name, whose keys are removed after the block: rounds share nothing."""
    name = f"stress-{uuid4().hex}"
    try:
        yield name
    finally:
        async with Redis.from_url(url) as client:
            pattern = "{" + name + "}*"
            doomed = [key async for key in client.scan_iter(match=pattern, count=UNLINK_CHUNK)]
            for start in range(0, len(doomed), UNLINK_CHUNK):
                await client.unlink(*doomed[start : start + UNLINK_CHUNK])
