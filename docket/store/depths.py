"""The numbers of waiting tasks on a docket, by a few cheap commands."""

import asyncio

from redis.exceptions import ResponseError

from docket.errors import NotPermitted
from docket.instrumentation.process_registry import Depths
from docket.store.connection.pipeline import Pipeline
from docket.store.keys import WORKER_GROUP, Keys


async def depths(pipeline: Pipeline, keys: Keys, patience_seconds: float) -> Depths:
    """Return the number of due tasks that wait for a worker, and of tasks for later.

    Raises:
        ServerUnavailable: the server is away for longer than `patience_seconds`.
    """
    streams = (keys.stream, keys.redelivery, keys.quarantine)
    # Called in one turn of the loop, so one round trip.
    lengths = [pipeline.command("XLEN", s, patience_seconds=patience_seconds) for s in streams]
    later = pipeline.command("ZCARD", keys.queue, patience_seconds=patience_seconds)
    claimed = [_claimed(pipeline, stream, patience_seconds) for stream in streams]
    values: list[int] = await asyncio.gather(*lengths, *claimed, later)
    return Depths(max(0, sum(values[:3]) - sum(values[3:6])), values[6])


async def _claimed(pipeline: Pipeline, stream: str, patience_seconds: float) -> int:
    """Return the number of entries of a stream that workers have claimed."""
    try:
        summary = await pipeline.command(
            "XPENDING", stream, WORKER_GROUP, patience_seconds=patience_seconds
        )
    except NotPermitted:
        raise
    except ResponseError:
        return 0  # No stream or no group yet, so no claims.
    return summary[0]
