"""The functions of a docket, and the workers that run them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from docket.docket import StrikeRecord
from docket.inspection import WorkerInfo, WorkerProcess
from docket.listing import ExecutionSummary
from docket.pauses import Pause
from docket.statistics import FunctionStatistics
from docket.web.shelf import SPANS
from docket.web.view import View

#: Runs that are named of one worker.
_NAMED = 20


@dataclass(frozen=True, slots=True)
class FunctionRow:
    """A function: its statistics (None: it did not run), its pause, its strikes, its workers."""

    name: str
    statistics: FunctionStatistics | None
    pause: Pause | None
    strikes: int
    workers: int

    @property
    def is_named(self) -> bool:
        """Return whether it is one function, not those beyond the first names."""
        return not self.name.startswith("(")


async def functions(view: View) -> dict[str, Any]:
    """Read the statistics of each function, and its holds."""
    shown = view.shown
    assert shown is not None
    over = view.query.get("over", "1h")
    over = over if over in SPANS else "1h"
    (statistics, _), workers, pauses, strikes = await asyncio.gather(
        shown.statistics(over), shown.workers.get(), shown.pauses.get(), view.docket.strikes()
    )
    rows = _rows(statistics.functions, workers, pauses, strikes)
    return {
        "over": over,
        "spans": list(SPANS),
        "rows": rows,
        "statistics": statistics,
        "docket_pause": next((each for each in pauses if each.function is None), None),
    }


def _rows(
    statistics: Mapping[str, FunctionStatistics],
    workers: Sequence[WorkerInfo],
    pauses: Sequence[Pause],
    strikes: Sequence[StrikeRecord],
) -> list[FunctionRow]:
    paused = {each.function: each for each in pauses if each.function is not None}
    known = [name for worker in workers for name in worker.tasks]
    names = {*statistics, *known, *paused, *(s.function for s in strikes if s.function)}
    rows = [
        FunctionRow(
            name,
            statistics.get(name),
            paused.get(name),
            sum(strike.function == name for strike in strikes),
            known.count(name),
        )
        for name in names
    ]
    return sorted(rows, key=lambda row: (-(row.statistics.runs if row.statistics else 0), row.name))


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """A worker that lives, and its runs. `entry`: that of its process in the report of the pool."""

    worker: WorkerInfo
    runs: tuple[ExecutionSummary, ...]
    run_count: int
    entry: Mapping[str, Any] | None

    @property
    def host(self) -> str:
        """The name of its host: as it tells, or as its name does; "" if neither does."""
        if self.worker.process is not None:
            return self.worker.process.host
        host, sign, _ = self.worker.name.partition("#")
        return host if sign else ""

    @property
    def pid(self) -> int:
        """The process id; 0 if it is not known."""
        return self.worker.process.pid if self.worker.process is not None else 0

    @property
    def lag_seconds(self) -> float | None:
        """The lag of its loop; the pool beside us knows it better than what it told some time ago.

        None if it is not known.
        """
        if self.entry is not None:
            return self.entry.get("loop_lag_seconds")
        return None if self.worker.process is None else self.worker.process.lag_seconds

    @property
    def rss_bytes(self) -> int | None:
        """The memory of its process, in the same way."""
        if self.entry is not None:
            return self.entry.get("rss_bytes")
        return None if self.worker.process is None else self.worker.process.rss_bytes


@dataclass(frozen=True, slots=True)
class Host:
    """A host, and what works there: its processes, each with its workers."""

    name: str
    processes: tuple[tuple[LiveWorker, ...], ...]

    @property
    def workers(self) -> int:
        """The number of its workers."""
        return sum(map(len, self.processes))

    @property
    def rss_bytes(self) -> int | None:
        """The memory of its processes; None if that of one is not known."""
        each = [workers[0].rss_bytes for workers in self.processes]
        known = [rss for rss in each if rss is not None]
        return sum(known) if len(known) == len(each) else None

    @property
    def versions(self) -> list[str]:
        """The versions of docket-supervisor that work there, as far as they are told."""
        return sorted({process.version for process in self._told if process.version})

    @property
    def supervisors(self) -> list[int]:
        """The process ids of the supervisors of its workers."""
        return sorted({process.supervisor_pid for process in self._told if process.supervisor_pid})

    @property
    def _told(self) -> list[WorkerProcess]:
        every = (each.worker.process for workers in self.processes for each in workers)
        return [process for process in every if process is not None]


def hosts_of(workers: Sequence[LiveWorker]) -> list[Host]:
    """Group workers by host, then by process: one that tells no process is one by itself."""
    by_host: dict[str, dict[object, list[LiveWorker]]] = {}
    # One whose host is not known comes last.
    for each in sorted(workers, key=lambda w: (not w.host, w.host, w.pid, w.worker.name)):
        processes = by_host.setdefault(each.host, {})
        processes.setdefault(each.pid or each.worker.name, []).append(each)
    return [Host(name, tuple(map(tuple, by_host[name].values()))) for name in by_host]


async def workers(view: View) -> dict[str, Any]:
    """Read the workers that live, what each runs, and the pool beside them."""
    shown = view.shown
    assert shown is not None
    alive, running, backlog = await asyncio.gather(
        shown.workers.get(), shown.running.get(), shown.backlog.get()
    )
    pool = await view.pool_report()
    entries = {} if pool is None else {_name(each): each for each in pool.get("workers", ())}
    by_worker: dict[str | None, list[ExecutionSummary]] = {}
    for each in running.executions:
        by_worker.setdefault(each.worker, []).append(each)
    rows = [
        LiveWorker(
            each,
            tuple(by_worker.get(each.name, ())[:_NAMED]),
            len(by_worker.get(each.name, ())),
            entries.get(each.name),
        )
        for each in alive
    ]
    names = {row.worker.name for row in rows}
    gone = {name: runs for name, runs in by_worker.items() if name not in names}
    return {
        "rows": rows,
        "hosts": hosts_of(rows),
        "has_generations": any(
            row.worker.process and row.worker.process.generation is not None for row in rows
        ),
        "gone": sorted((name or "–", len(runs)) for name, runs in gone.items()),
        "is_partial": running.cursor is not None,
        "backlog": backlog,
        "pool": pool,
    }


def _name(process: Mapping[str, Any]) -> str:
    # The pool names consumers: that of the worker, a dot, and a part of its own.
    name = str(process.get("name", ""))
    return name.rpartition(".")[0] or name
