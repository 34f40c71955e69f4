"""streaq."""

import asyncio
from datetime import UTC, datetime

import harness
from streaq import Worker

worker = Worker(
    redis_url=harness.URL,
    queue_name=harness.NAME,
    concurrency=harness.CONCURRENCY,
    anyio_kwargs={"use_uvloop": True},
)


@worker.task
async def no_op() -> None:
    """Count."""
    harness.traces.count()


@worker.task
async def stamp(moment: float) -> None:
    """Note the delay."""
    harness.traces.stamp(moment)


@worker.task
async def linger(number: int, seconds: float) -> None:
    """Take a while."""
    harness.traces.started(number)
    await asyncio.sleep(seconds)
    harness.traces.ended(number)


_BY_NAME = {"no_op": no_op, "stamp": stamp, "linger": linger}

#: As they are shown beside the figures.
SETTINGS = {
    "add": "await task.enqueue()",
    "bulk": "worker.enqueue_many, one call",
    "worker": "worker.run_sync(), concurrency=..., as much prefetch (default)",
    "loop": "uvloop",
    "killed": "idle_timeout=60 (default)",
}


class StreaqAdapter(harness.Adapter):
    """streaq."""

    async def __aenter__(self) -> "StreaqAdapter":
        """Open the connections."""
        await worker.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close them."""
        await worker.__aexit__(None, None, None)

    async def add(self, task: str, *arguments: object, at: float | None = None) -> None:
        """Add one task."""
        added = _BY_NAME[task].enqueue(*arguments)
        if at is not None:
            added = added.start(schedule=datetime.fromtimestamp(at, UTC))
        await added

    async def add_bulk(self, task: str, calls: list[tuple[object, ...]]) -> None:
        """Add many tasks."""
        enqueue = _BY_NAME[task].enqueue
        await worker.enqueue_many([enqueue(*each) for each in calls])

    def work(self) -> None:
        """Run a worker."""
        worker.run_sync()


if __name__ == "__main__":
    harness.main(StreaqAdapter(), SETTINGS)
