"""arq."""

import asyncio
from datetime import UTC, datetime

import harness
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker


async def no_op(_context: object) -> None:
    """Count."""
    harness.traces.count()


async def stamp(_context: object, moment: float) -> None:
    """Note the delay."""
    harness.traces.stamp(moment)


async def linger(_context: object, number: int, seconds: float) -> None:
    """Take a while."""
    harness.traces.started(number)
    await asyncio.sleep(seconds)
    harness.traces.ended(number)


async def _work() -> None:
    worker = Worker(
        functions=[no_op, stamp, linger],
        queue_name=harness.NAME,
        redis_settings=RedisSettings.from_dsn(harness.URL),
        max_jobs=harness.CONCURRENCY,
        handle_signals=False,
    )
    await worker.async_run()


#: As they are shown beside the figures.
SETTINGS = {
    "add": "await pool.enqueue_job(name)",
    "bulk": f"no call for many: {harness.TOGETHER} pool.enqueue_job() at once",
    "worker": "Worker(max_jobs=...), poll_delay=0.5 (default)",
    "loop": "uvloop; hiredis",
    "killed": "job_timeout=300 (default)",
}


class ArqAdapter(harness.Adapter):
    """arq."""

    async def __aenter__(self) -> "ArqAdapter":
        """Open the pool."""
        settings = RedisSettings.from_dsn(harness.URL)
        self._pool = await create_pool(settings, default_queue_name=harness.NAME)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the pool."""
        await self._pool.aclose()

    async def add(self, task: str, *arguments: object, at: float | None = None) -> None:
        """Add one task."""
        until = None if at is None else datetime.fromtimestamp(at, UTC)
        await self._pool.enqueue_job(task, *arguments, _defer_until=until)

    async def add_bulk(self, task: str, calls: list[tuple[object, ...]]) -> None:
        """Add many tasks."""
        await harness.in_chunks(self._pool.enqueue_job, [(task, *each) for each in calls])

    def work(self) -> None:
        """Run a worker."""
        harness.run_loop(_work())


if __name__ == "__main__":
    harness.main(ArqAdapter(), SETTINGS)
