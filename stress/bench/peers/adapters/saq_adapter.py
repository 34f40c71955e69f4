"""saq."""

import asyncio
import math

import harness
from saq import Queue, Worker

#: By the parameters of the tasks, since saq takes named arguments only.
_NAMES = {"no_op": (), "stamp": ("moment",), "linger": ("number", "seconds")}


async def no_op(_context: object) -> None:
    """Count."""
    harness.traces.count()


async def stamp(_context: object, *, moment: float) -> None:
    """Note the delay."""
    harness.traces.stamp(moment)


async def linger(_context: object, *, number: int, seconds: float) -> None:
    """Take a while."""
    harness.traces.started(number)
    await asyncio.sleep(seconds)
    harness.traces.ended(number)


def _queue() -> Queue:
    return Queue.from_url(harness.URL, name=harness.NAME, max_concurrent_ops=harness.TOGETHER)


async def _work() -> None:
    queue = _queue()
    worker = Worker(queue, functions=[no_op, stamp, linger], concurrency=harness.CONCURRENCY)
    await worker.start()


#: As they are shown beside the figures.
SETTINGS = {
    "add": "await queue.enqueue(name)",
    "bulk": f"no call for many: {harness.TOGETHER} queue.enqueue() at once",
    "worker": "Worker(queue, concurrency=...)",
    "loop": "uvloop; hiredis",
    "scheduled": "whole seconds only; polled each second (default)",
    "killed": "retries=3; a job counts as stuck after its timeout of 10 s (default)",
}


class SaqAdapter(harness.Adapter):
    """saq."""

    async def __aenter__(self) -> "SaqAdapter":
        """Open the queue."""
        self._queue = _queue()
        await self._queue.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the queue."""
        await self._queue.disconnect()

    def due(self, at: float) -> float:
        """Round up to whole seconds."""
        return math.ceil(at)

    async def add(self, task: str, *arguments: object, at: float | None = None) -> None:
        """Add one task."""
        named = dict(zip(_NAMES[task], arguments, strict=True))
        if at is not None:
            named["scheduled"] = int(at)
        if harness.DURABLE:
            named["retries"] = 3
        await self._queue.enqueue(task, **named)

    async def add_bulk(self, task: str, calls: list[tuple[object, ...]]) -> None:
        """Add many tasks."""
        await harness.in_chunks(self.add, [(task, *each) for each in calls])

    def work(self) -> None:
        """Run a worker."""
        harness.run_loop(_work())


if __name__ == "__main__":
    harness.main(SaqAdapter(), SETTINGS)
