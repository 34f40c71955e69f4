"""ardiq."""

import asyncio

import harness
from ardiq import Ardiq

app = Ardiq(
    redis_url=harness.URL,
    queue_name=harness.NAME,
    concurrency=harness.CONCURRENCY,
)


@app.task
async def no_op() -> None:
    """Count."""
    harness.traces.count()


@app.task
async def stamp(moment: float) -> None:
    """Note the delay."""
    harness.traces.stamp(moment)


@app.task
async def linger(number: int, seconds: float) -> None:
    """Take a while."""
    harness.traces.started(number)
    await asyncio.sleep(seconds)
    harness.traces.ended(number)


_BY_NAME = {"no_op": no_op, "stamp": stamp, "linger": linger}

#: As they are shown beside the figures.
SETTINGS = {
    "add": "await task.enqueue()",
    "bulk": "app.enqueue_many, one call",
    "worker": "app.run(), concurrency=..., prefetch twice that (default)",
    "loop": "uvloop; tokio inside",
    "killed": "idle_timeout_ms=60000 (default)",
}


class ArdiqAdapter(harness.Adapter):
    """ardiq."""

    async def add(self, task: str, *arguments: object, at: float | None = None) -> None:
        """Add one task."""
        handle = _BY_NAME[task]
        if at is not None:
            handle = handle.options(schedule_ms=round(at * 1000))
        await handle.enqueue(*arguments)

    async def add_bulk(self, task: str, calls: list[tuple[object, ...]]) -> None:
        """Add many tasks."""
        prepare = _BY_NAME[task].prepare
        await app.enqueue_many([prepare(*each) for each in calls])

    def work(self) -> None:
        """Run a worker."""
        harness.run_loop(app.run())


if __name__ == "__main__":
    harness.main(ArdiqAdapter(), SETTINGS)
