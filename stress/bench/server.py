"""The server a bench runs on: the embedded one, or one that is there already."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

from redis.asyncio import Redis

from docket.store.embedded import embedded_server

#: Keys removed in one call, so that cleaning up never blocks a server that others use too.
UNLINK_CHUNK = 1000


@contextlib.contextmanager
def server(url: str | None) -> Iterator[str]:
    """The URL to measure on.

    Args:
        url: a server that runs; None starts the embedded one for the time of the block.
    """
    if url is not None:
        yield url
        return
    running = embedded_server.start(f"memory://bench-{uuid4().hex}")
    try:
        yield running.url
    finally:
        running.stop()


@contextlib.asynccontextmanager
async def docket_name(url: str) -> AsyncIterator[str]:
    """A docket name of its own, whose keys are removed afterwards: rounds do not see each other."""
    name = f"bench-{uuid4().hex}"
    try:
        yield name
    finally:
        async with Redis.from_url(url) as client:
            pattern = "{" + name + "}*"
            doomed = [key async for key in client.scan_iter(match=pattern, count=UNLINK_CHUNK)]
            for start in range(0, len(doomed), UNLINK_CHUNK):
                await client.unlink(*doomed[start : start + UNLINK_CHUNK])


async def version(url: str) -> str:
    """What the server calls itself, for the record."""
    async with Redis.from_url(url) as client:
        told = await client.info("server")
    name = told.get("server_name", "redis")
    return f"{name} {told.get(f'{name}_version', told['redis_version'])}"
