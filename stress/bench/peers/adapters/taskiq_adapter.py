"""taskiq, with the stream broker of taskiq-redis."""

import asyncio
from datetime import UTC, datetime

import harness
from taskiq import TaskiqScheduler
from taskiq_redis import ListRedisScheduleSource, RedisAsyncResultBackend, RedisStreamBroker

broker = RedisStreamBroker(
    url=harness.URL,
    queue_name=harness.NAME,
    # From the beginning: the backlog is there before the first worker.
    consumer_id="0",
    max_connection_pool_size=harness.TOGETHER,
).with_result_backend(RedisAsyncResultBackend(redis_url=harness.URL, result_ex_time=900))
source = ListRedisScheduleSource(url=harness.URL, prefix=f"{harness.NAME}-schedule")
scheduler = TaskiqScheduler(broker, [source])


@broker.task(task_name="no_op")
async def no_op() -> None:
    """Count."""
    harness.traces.count()


@broker.task(task_name="stamp")
async def stamp(moment: float) -> None:
    """Note the delay."""
    harness.traces.stamp(moment)


@broker.task(task_name="linger")
async def linger(number: int, seconds: float) -> None:
    """Take a while."""
    harness.traces.started(number)
    await asyncio.sleep(seconds)
    harness.traces.ended(number)


_BY_NAME = {"no_op": no_op, "stamp": stamp, "linger": linger}

#: As they are shown beside the figures.
SETTINGS = {
    "broker": "RedisStreamBroker with RedisAsyncResultBackend",
    "add": "await task.kiq()",
    "bulk": f"no call for many: {harness.TOGETHER} task.kiq() at once",
    "worker": "taskiq worker --max-async-tasks ... --max-prefetch 100 --no-parse",
    "loop": "uvloop",
    "scheduled": "ListRedisScheduleSource, taskiq scheduler --update-interval 1",
    "killed": "idle_timeout=600000 (default)",
}


class TaskiqAdapter(harness.Adapter):
    """taskiq."""

    async def __aenter__(self) -> "TaskiqAdapter":
        """Open the broker."""
        await broker.startup()
        await source.startup()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the broker."""
        await source.shutdown()
        await broker.shutdown()

    async def add(self, task: str, *arguments: object, at: float | None = None) -> None:
        """Add one task."""
        if at is None:
            await _BY_NAME[task].kiq(*arguments)
        else:
            moment = datetime.fromtimestamp(at, UTC)
            await _BY_NAME[task].schedule_by_time(source, moment, *arguments)

    async def add_bulk(self, task: str, calls: list[tuple[object, ...]]) -> None:
        """Add many tasks."""
        await harness.in_chunks(_BY_NAME[task].kiq, calls)

    def work(self) -> None:
        """Run a pool of workers."""
        options = {
            "--workers": str(harness.PROCESSES),
            "--max-async-tasks": str(harness.CONCURRENCY),
            "--max-prefetch": "100",
            "--log-level": "WARNING",
        }
        words = [word for pair in options.items() for word in pair]
        harness.become("taskiq", "worker", "taskiq_adapter:broker", "--no-parse", *words)

    def schedule(self) -> None:
        """Run the scheduler."""
        words = ["--update-interval", "1", "--log-level", "WARNING"]
        harness.become("taskiq", "scheduler", "taskiq_adapter:scheduler", *words)


if __name__ == "__main__":
    harness.main(TaskiqAdapter(), SETTINGS)
