"""The producer of the demo: adds a task a file, kills a worker halfway, reads the records."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta

import anyio

from docket import Docket, Execution, ExecutionState
from supervisor.demo.audit import FileAccount, FileOutcome
from supervisor.demo.pool_view import PoolView
from supervisor.demo.source_files import Source
from supervisor.demo.tasks import Counts, parse_file

#: A file that has not ended this long after it was added is given up, and told of at the end.
#: Longer than a file may need that hangs in three workers before it is failed as poison.
GIVE_UP = timedelta(minutes=5)
#: Records read at once.
READ_AT_ONCE = 256

#: Called with the number of files that have ended, and the seconds that took.
Advanced = Callable[[int, float], None]


class Producer:
    """Keeps so many files queued or running that every worker has one waiting, and no more.

    All at once would do as well, but then the time from queued to started would say nothing of
    the pool, only how long the queue was.

    Arguments:
        docket: open.
        sources: the files.
        at_once: how many are queued or running at any time.
        advanced: told of each end.
    """

    def __init__(
        self, docket: Docket, sources: Sequence[Source], at_once: int, advanced: Advanced
    ) -> None:
        self._docket = docket
        self._sources = sources
        self._at_once = at_once
        self._advanced = advanced
        self._started_at = time.monotonic()
        self._outstanding: set[str] = set()
        self._ended: dict[str, tuple[FileAccount, float]] = {}
        self._one_ended = asyncio.Event()
        #: From the first add to the last end.
        self.seconds = 0.0

    async def run(self, victims: PoolView | None, say: Callable[[str], None]) -> None:
        """Have every file parsed.

        Arguments:
            victims: the pool that one worker is to be killed of, halfway; None: none is.
            say: tells a person in one line.
        """
        self._started_at = time.monotonic()
        waiting = iter(self._sources)
        async with anyio.create_task_group() as group:
            if victims is not None:
                group.start_soon(self._kill_halfway, victims, say)
            async with anyio.create_task_group() as feeders:
                for _ in range(min(self._at_once, len(self._sources))):
                    feeders.start_soon(self._feed, waiting)
            group.cancel_scope.cancel()  # it may have found nobody to kill
        self.seconds = time.monotonic() - self._started_at

    async def audit(self) -> list[FileAccount]:
        """What the records say, once all has ended. A file without a record has no account.

        Read anew, so that what happened to a record after its end is seen too. Records expire:
        of one that is over its time, what it said at its end counts.
        """
        keys = [source.key for source in self._sources]
        accounts: list[FileAccount] = []
        for start in range(0, len(keys), READ_AT_ONCE):
            read = (self._read(key) for key in keys[start : start + READ_AT_ONCE])
            accounts += [each for each in await asyncio.gather(*read) if each is not None]
        return accounts

    async def _feed(self, waiting: Iterator[Source]) -> None:
        for source in waiting:
            self._outstanding.add(source.key)
            execution = await self._docket.add(parse_file, key=source.key)(source.path)
            # What a file fails with is read from its record, in the end, like all the rest.
            counts = None
            with suppress(Exception):
                counts = await execution.get_result(timeout=GIVE_UP)
            self._outstanding.discard(source.key)
            account = account_of(execution, counts or Counts())
            self._ended[source.key] = (account, time.monotonic())
            self._advanced(len(self._ended), time.monotonic() - self._started_at)
            self._one_ended.set()

    async def _kill_halfway(self, victims: PoolView, say: Callable[[str], None]) -> None:
        while len(self._ended) * 2 < len(self._sources):
            await self._next_end()
        while True:
            keys = sorted(self._outstanding)
            running = await asyncio.gather(*(self._docket.get_execution(key) for key in keys))
            kill = victims.kill_busiest(running)
            if kill is not None:
                say(
                    f"halfway: kill -9 {kill.pid} (worker {kill.slot}, "
                    f"in the middle of {counted(kill.running, 'file')})"
                )
                return
            await self._next_end()

    async def _next_end(self) -> None:
        self._one_ended.clear()
        await self._one_ended.wait()

    async def _read(self, key: str) -> FileAccount | None:
        execution = await self._docket.get_execution(key)
        if execution is not None:
            parsed = execution.state is ExecutionState.COMPLETED
            return account_of(execution, await execution.get_result() if parsed else Counts())
        account, ended_at = self._ended.get(key, (None, 0.0))
        kept_for = self._docket.execution_ttl.total_seconds()
        return account if time.monotonic() - ended_at > kept_for else None


def account_of(execution: Execution, counts: Counts) -> FileAccount:
    """The account of a file whose record `execution` has just been read from."""
    waited = None
    if execution.started_at is not None:
        waited = (execution.started_at - execution.when).total_seconds()
    match execution.state:
        case ExecutionState.COMPLETED:
            outcome, error = FileOutcome.PARSED, None
        case ExecutionState.FAILED:
            outcome, error = FileOutcome.FAILED, execution.error
        case state:
            outcome = FileOutcome.UNFINISHED
            error = "no record" if state is None else f"still {state.value}"
    return FileAccount(execution.key, outcome, counts, error, waited, execution.generation)


def counted(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
