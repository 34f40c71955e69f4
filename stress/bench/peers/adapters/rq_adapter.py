"""rq."""

import time
from datetime import UTC, datetime

import harness
from redis import Redis
from rq import Queue, SimpleWorker


def no_op() -> None:
    """Count."""
    harness.traces.count()


def stamp(moment: float) -> None:
    """Note the delay."""
    harness.traces.stamp(moment)


def linger(number: int, seconds: float) -> None:
    """Take a while."""
    harness.traces.started(number)
    time.sleep(seconds)
    harness.traces.ended(number)


def _queue() -> Queue:
    return Queue(harness.NAME, connection=Redis.from_url(harness.URL))


#: As they are shown beside the figures.
SETTINGS = {
    "add": "queue.enqueue(f)",
    "bulk": "queue.enqueue_many, one call",
    "worker": "SimpleWorker, which does not fork; one task at a time",
    "scheduled": "queue.enqueue_at, work(with_scheduler=True)",
    "other": "defaults; hiredis",
}


class RqAdapter(harness.Adapter):
    """rq."""

    async def __aenter__(self) -> "RqAdapter":
        """Open the queue."""
        self._queue = _queue()
        return self

    def add(self, task: str, *arguments: object, at: float | None = None) -> None:
        """Add one task."""
        name = f"rq_adapter.{task}"
        if at is None:
            self._queue.enqueue(name, *arguments)
        else:
            self._queue.enqueue_at(datetime.fromtimestamp(at, UTC), name, *arguments)

    def add_bulk(self, task: str, calls: list[tuple[object, ...]]) -> None:
        """Add many tasks."""
        prepare = Queue.prepare_data
        self._queue.enqueue_many([prepare(f"rq_adapter.{task}", args=each) for each in calls])

    def work(self) -> None:
        """Run a worker."""
        queue = _queue()
        worker = SimpleWorker([queue], connection=queue.connection)
        worker.work(logging_level="WARNING", with_scheduler=harness.OPTIONS.get("scheduled", False))


if __name__ == "__main__":
    harness.main(RqAdapter(), SETTINGS)
