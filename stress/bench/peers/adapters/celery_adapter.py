"""celery, with Redis as its broker and for its results."""

import time
from datetime import UTC, datetime

import harness
from celery import Celery, group

app = Celery("celery_adapter", broker=harness.URL, backend=harness.URL)
app.conf.update(
    task_default_queue=harness.NAME,
    worker_prefetch_multiplier=1 if harness.DURABLE else 64,
    task_acks_late=harness.DURABLE,
    task_reject_on_worker_lost=harness.DURABLE,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)


@app.task(name="no_op")
def no_op() -> None:
    """Count."""
    harness.traces.count()


@app.task(name="stamp")
def stamp(moment: float) -> None:
    """Note the delay."""
    harness.traces.stamp(moment)


@app.task(name="linger")
def linger(number: int, seconds: float) -> None:
    """Take a while."""
    harness.traces.started(number)
    time.sleep(seconds)
    harness.traces.ended(number)


_BY_NAME = {"no_op": no_op, "stamp": stamp, "linger": linger}

#: As they are shown beside the figures.
SETTINGS = {
    "add": "task.delay()",
    "bulk": "group(signatures).apply_async()",
    "worker": "--pool threads --concurrency ..., no gossip, mingle or heartbeat",
    "prefetch": "worker_prefetch_multiplier=64, tasks acknowledged before they run",
    "killed": "acks_late, reject_on_worker_lost, multiplier 1, visibility 1 h (default)",
}


class CeleryAdapter(harness.Adapter):
    """celery."""

    def add(self, task: str, *arguments: object, at: float | None = None) -> None:
        """Add one task."""
        eta = None if at is None else datetime.fromtimestamp(at, UTC)
        _BY_NAME[task].apply_async(arguments, eta=eta)

    def add_bulk(self, task: str, calls: list[tuple[object, ...]]) -> None:
        """Add many tasks."""
        group(_BY_NAME[task].s(*each) for each in calls).apply_async()

    def work(self) -> None:
        """Run a worker."""
        size = ["--pool", "threads", "--concurrency", str(harness.CONCURRENCY)]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        node = f"--hostname={harness.OPTIONS.get('worker', 0)}@peers"
        app.worker_main(["worker", "--loglevel", "WARNING", node, *size, *quiet])


if __name__ == "__main__":
    harness.main(CeleryAdapter(), SETTINGS)
