"""The tasks and workers of a docket, as values to look at."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from docket.backlog import Backlog
from docket.clock import duration, from_microseconds
from docket.errors import DeserializationError
from docket.execution import Execution, ExecutionState
from docket.instrumentation.counters import Counters
from docket.statistics import PeriodTotal, Statistics, statistics_of, total_of
from docket.store.backlog import backlog
from docket.store.connection.retrying import PATIENCE_SECONDS, retry
from docket.store.keys import worker_of
from docket.store.scan import Record, Scan, WorkerRow
from docket.store.statistics import StatisticsStore, period_seconds
from docket.worker_process import WorkerProcess
from docket.worker_process import read as read_process

if TYPE_CHECKING:
    from docket.docket import Docket

logger = logging.getLogger("docket.docket")

#: Workers have handed in the counters of a period so many seconds after its end.
_REPORTED_WITHIN = 60


@dataclass
class WorkerInfo:
    """A live worker.

    Attributes:
        name: its name.
        last_seen: the time of its last heartbeat, by the server's clock.
        tasks: the names of the tasks that it can run.
        process: its process, as it told last; None if it tells nothing, as older versions do.
    """

    name: str
    last_seen: datetime
    tasks: set[str]

    def __post_init__(self) -> None:
        # No field: those are the original's, for whoever lists or compares them.
        self.process: WorkerProcess | None = None


class RunningExecution(Execution):
    """A running execution.

    Args:
        execution: the execution.
        worker: the name of the worker that runs it.
        started: the start of the run, by the server's clock.
    """

    def __init__(self, execution: Execution, worker: str, started: datetime) -> None:
        super().__init__(
            execution.docket,
            execution.function,
            execution.args,
            execution.kwargs,
            execution.key,
            execution.when,
            execution.attempt,
            trace_context=execution.trace_context,
            redelivered=execution.redelivered,
            function_name=execution.function_name,
            generation=execution.generation,
            message_id=execution.message_id,
        )
        # The rest of its state, and any attribute that a caller has set on it.
        vars(self).update(vars(execution))
        self.worker = worker
        #: The start of the run.
        self.started = started


@dataclass
class DocketSnapshot:
    """The contents of a docket at one time.

    Attributes:
        taken: the time of the snapshot, by the server's clock.
        total_tasks: the number of waiting and running tasks.
        future: the waiting tasks: queued ones first, then scheduled ones by their due time.
        running: the running tasks.
        workers: the live workers.
    """

    taken: datetime
    total_tasks: int
    future: Sequence[Execution]
    running: Sequence[RunningExecution]
    workers: Collection[WorkerInfo]


async def take_snapshot(docket: Docket) -> DocketSnapshot:
    """Read everything on a docket, page by page; see Docket.snapshot."""
    scan = Scan(docket.connections.pipeline, docket.keys)
    now, rows = await scan.workers()
    queued: list[Execution] = []
    scheduled: list[Execution] = []
    running: list[RunningExecution] = []
    unreadable = 0
    async for key, record in scan.tasks():
        match record.get(b"state"):
            case b"scheduled" | b"queued" | b"running":
                execution = _execution(docket, key, record)
            case _:
                continue  # It has ended, or its record belongs to a later execution.
        if execution is None:
            unreadable += 1
        elif execution.state is ExecutionState.RUNNING:
            running.append(_running(execution))
        elif execution.state is ExecutionState.QUEUED:
            queued.append(execution)
        else:
            scheduled.append(execution)
    scheduled.sort(key=lambda execution: execution.when)
    return DocketSnapshot(
        taken=from_microseconds(now),
        total_tasks=len(queued) + len(scheduled) + len(running) + unreadable,
        future=[*queued, *scheduled],
        running=running,
        workers=_alive(docket, now, rows),
    )


async def live_workers(docket: Docket) -> list[WorkerInfo]:
    """List the registered workers with a recent heartbeat; see Docket.workers."""
    now, rows = await Scan(docket.connections.pipeline, docket.keys).workers()
    return _alive(docket, now, rows)


async def backlog_of(docket: Docket, patience_seconds: float) -> Backlog:
    """Read the backlog of a docket once.

    Raises:
        ServerUnavailable: the server does not answer within `patience_seconds`.
    """
    worker_patience = docket.heartbeat_interval * docket.missed_heartbeats
    pipeline = docket.connections.pipeline
    return await backlog(pipeline, docket.keys, worker_patience, patience_seconds)


async def read_backlog(docket: Docket) -> Backlog:
    """Read the backlog of a docket; see Docket.backlog."""
    return await retry(lambda: backlog_of(docket, PATIENCE_SECONDS))


async def read_statistics(docket: Docket, over: timedelta) -> Statistics:
    """Read the statistics of a docket; see Docket.statistics."""
    over = duration("over", over)
    if not timedelta(0) < over <= docket.keep_statistics:
        raise ValueError(
            f"over must be positive and at most {docket.keep_statistics}, for which statistics "
            f"are kept (keep_statistics), but is {over}"
        )
    store = StatisticsStore(docket.connections.pipeline, docket.keys, docket.keep_statistics)
    since, until, counters = await store.read(over)
    return statistics_of(
        from_microseconds(since * 1_000_000), from_microseconds(until * 1_000_000), counters
    )


class StatisticsHistory:
    """The statistics of a docket, for a program that looks again and again.

    Periods that are over are read once: workers hand in their counters within seconds.

    Args:
        docket: the docket, open.
    """

    def __init__(self, docket: Docket) -> None:
        self._store = StatisticsStore(
            docket.connections.pipeline, docket.keys, docket.keep_statistics
        )
        self._known: dict[int, dict[int, Mapping[str, Counters]]] = {}

    async def read(self, over: timedelta) -> tuple[Statistics, list[PeriodTotal]]:
        """Read the statistics of a time and its periods, the oldest first.

        They are minutes, for more than two hours quarters of an hour; the last one lasts still.

        Raises:
            ServerUnavailable: the server is away.
        """
        length = period_seconds(over)
        known = self._known.get(length, {})
        now, periods = await self._store.periods(over, known)
        closed = now - length - _REPORTED_WITHIN
        self._known[length] = {start: each for start, each in periods.items() if start <= closed}
        sums: dict[str, Counters] = {}
        for counters in periods.values():
            for name, each in counters.items():
                sums.setdefault(name, Counters()).add(each)
        first = from_microseconds(min(periods) * 1_000_000)
        totals = [
            total_of(
                from_microseconds(start * 1_000_000),
                max(1, min(length, now - start)),
                counters.values(),
            )
            for start, counters in periods.items()
        ]
        return statistics_of(first, from_microseconds(now * 1_000_000), sums), totals


def _execution(docket: Docket, key: str, record: Record) -> Execution | None:
    try:
        return docket.execution_of(key, record)
    except DeserializationError as error:
        logger.warning("Task %r is counted in the snapshot and cannot be shown: %s", key, error)
        return None


def _running(execution: Execution) -> RunningExecution:
    return RunningExecution(
        execution, execution.worker or "", execution.started_at or execution.when
    )


def _alive(docket: Docket, now: int, rows: Sequence[WorkerRow]) -> list[WorkerInfo]:
    patience: timedelta = docket.heartbeat_interval * docket.missed_heartbeats
    oldest = from_microseconds(now) - patience
    workers: dict[str, WorkerInfo] = {}
    for row in rows:
        last_seen = from_microseconds(row.last_beat * 1000)
        if last_seen < oldest:
            continue
        name = worker_of(row.consumer)
        # A fenced worker has a new consumer while its old one still counts as alive.
        earlier = workers.get(name)
        tasks = set[str]() if earlier is None else earlier.tasks
        process = read_process(row.report) or (earlier and earlier.process)
        workers[name] = WorkerInfo(name, last_seen, tasks | row.functions)
        workers[name].process = process
    return list(workers.values())


__all__ = [
    "DocketSnapshot",
    "RunningExecution",
    "StatisticsHistory",
    "WorkerInfo",
    "WorkerProcess",
    "backlog_of",
    "live_workers",
    "read_backlog",
    "read_statistics",
    "take_snapshot",
]
