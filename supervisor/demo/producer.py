"""The producer of the demo: adds a task a file, kills a worker halfway, reads the records."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta

import anyio
from anyio.abc import TaskGroup

from docket import Docket, ExecutionState
from supervisor.demo.audit import NO_COUNTS, FileResult, result_of
from supervisor.demo.pool_view import PoolView
from supervisor.demo.source_files import SourceFile
from supervisor.demo.tasks import parse_file

#: A file that has not ended this long after it was added is given up, and reported at the end.
#: Longer than a file may need that hangs in three workers before it is failed as poison.
GIVE_UP = timedelta(minutes=5)
#: Records read at once.
READ_AT_ONCE = 256

#: Called with the number of files that have ended, and the seconds that took.
Advanced = Callable[[int, float], None]


class Producer:
    """Keep so many files queued or running that every worker has one waiting, and no more.

    With all of them queued at once, the time from queued to started would be a measure of the
    queue's length rather than of the pool.

    Arguments:
        docket: open.
        files: those to be parsed.
        at_once: number of files that are queued or running at any time.
        advanced: called at the end of each file.
        pool: one worker of it is killed halfway; None: none is.
    """

    def __init__(
        self,
        docket: Docket,
        files: Sequence[SourceFile],
        at_once: int,
        advanced: Advanced,
        pool: PoolView | None = None,
    ) -> None:
        self._docket = docket
        self._files = files
        self._at_once = at_once
        self._advanced = advanced
        self._pool = pool
        self._started_at = time.monotonic()
        self._outstanding: set[str] = set()
        #: Those that were outstanding when a worker was killed.
        self._at_kill: frozenset[str] = frozenset()
        self._ended: dict[str, tuple[FileResult, float]] = {}

    async def run(self) -> float:
        """Have every file parsed; the seconds from the first add to the last end."""
        self._started_at = time.monotonic()
        waiting = iter(self._files)
        async with anyio.create_task_group() as group:
            for _ in range(min(self._at_once, len(self._files))):
                group.start_soon(self._produce, waiting, group)
        return time.monotonic() - self._started_at

    async def results(self) -> list[FileResult]:
        """Read every record anew, so that a change after its end is seen too.

        A file without a record has no result; but of a record that has expired meanwhile, the
        state at its end counts.
        """
        keys = [each.key for each in self._files]
        results: list[FileResult] = []
        for start in range(0, len(keys), READ_AT_ONCE):
            read = map(self._read, keys[start : start + READ_AT_ONCE])
            results += [each for each in await asyncio.gather(*read) if each is not None]
        return results

    async def interrupted(self) -> int:
        """The number of files that the killed worker was in the middle of, once all have ended."""
        read = await asyncio.gather(*map(self._docket.describe, sorted(self._at_kill)))
        return sum(each is not None and each.summary.deaths > 0 for each in read)

    async def _produce(self, waiting: Iterator[SourceFile], group: TaskGroup) -> None:
        for file in waiting:
            self._outstanding.add(file.key)
            execution = await self._docket.add(parse_file, key=file.key)(file.path)
            # The error of a file that fails is read from its record, in the end, like all the rest.
            counts = NO_COUNTS
            with suppress(Exception):
                counts = await execution.get_result(timeout=GIVE_UP)
            self._outstanding.discard(file.key)
            self._ended[file.key] = (result_of(execution, counts), time.monotonic())
            self._advanced(len(self._ended), time.monotonic() - self._started_at)
            pool = self._pool
            if pool is not None and len(self._ended) * 2 >= len(self._files):
                # Beside the producing: the pool must not run out of files meanwhile.
                self._pool = None
                group.start_soon(self._kill_busiest, pool)

    async def _kill_busiest(self, pool: PoolView) -> None:
        """Kill the worker that runs most files; if none runs any, try again at the next end."""
        read = await asyncio.gather(*map(self._docket.get_execution, sorted(self._outstanding)))
        pool.kill_busiest([each for each in read if each and each.key in self._outstanding])
        # None of those that are added from now on is claimed by the dead.
        self._at_kill = frozenset(self._outstanding)
        if pool.kill is None:
            self._pool = pool
            self._at_kill = frozenset()

    async def _read(self, key: str) -> FileResult | None:
        execution = await self._docket.get_execution(key)
        if execution is not None:
            is_parsed = execution.state is ExecutionState.COMPLETED
            return result_of(execution, await execution.get_result() if is_parsed else NO_COUNTS)
        result, ended_at = self._ended.get(key, (None, 0.0))
        kept_for = self._docket.execution_ttl.total_seconds()
        return result if time.monotonic() - ended_at > kept_for else None
