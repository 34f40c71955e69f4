"""pydocket, and ours, which has the same interface: as a library, and under the supervisor."""

import asyncio
from datetime import UTC, datetime

import harness

from docket import Docket, Worker

SUPERVISED = harness.OPTIONS.get("supervised", False)


async def no_op() -> None:
    """Count."""
    harness.traces.count()


async def stamp(moment: float) -> None:
    """Note the delay."""
    harness.traces.stamp(moment)


async def linger(number: int, seconds: float) -> None:
    """Take a while."""
    harness.traces.started(number)
    await asyncio.sleep(seconds)
    harness.traces.ended(number)


tasks = [no_op, stamp, linger]
_BY_NAME = {each.__name__: each for each in tasks}


def _docket() -> Docket:
    docket = Docket(name=harness.NAME, url=harness.URL)
    for task in tasks:
        docket.register(task)
    return docket


async def _work() -> None:
    async with (
        _docket() as docket,
        Worker(docket, concurrency=harness.CONCURRENCY) as worker,
    ):
        await worker.run_forever()


#: As they are shown beside the figures.
SETTINGS = {
    "add": "await docket.add(task)()",
    "bulk": "docket.add_many, one call",
    "worker": "docket-supervisor" if SUPERVISED else "Worker(docket, concurrency=...)",
    "loop": "uvloop",
    "other": "defaults",
}


class DocketAdapter(harness.Adapter):
    """A docket."""

    async def __aenter__(self) -> "DocketAdapter":
        """Open the docket."""
        self._docket = await _docket().__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the docket."""
        await self._docket.__aexit__(None, None, None)

    async def add(self, task: str, *arguments: object, at: float | None = None) -> None:
        """Add one task."""
        when = None if at is None else datetime.fromtimestamp(at, UTC)
        await self._docket.add(_BY_NAME[task], when=when)(*arguments)

    async def add_bulk(self, task: str, calls: list[tuple[object, ...]]) -> None:
        """Add many tasks."""
        call = self._docket.call
        await self._docket.add_many([call(_BY_NAME[task])(*each) for each in calls])

    def work(self) -> None:
        """Run a worker, or a pool."""
        if not SUPERVISED:
            harness.run_loop(_work())
        options = {
            "--url": harness.URL,
            "--docket": harness.NAME,
            "--tasks": "docket_adapter:tasks",
            "--processes": str(harness.PROCESSES),
            "--concurrency": str(harness.CONCURRENCY),
            "--logging-level": "WARNING",
        }
        harness.become("supervisor.cli", *(word for pair in options.items() for word in pair))


if __name__ == "__main__":
    harness.main(DocketAdapter(), SETTINGS)
