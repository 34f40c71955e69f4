"""The functions of a docket, and the workers that run them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from docket.docket import StrikeRecord
from docket.inspection import WorkerInfo
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
    known = Counter(name for worker in workers for name in worker.tasks)
    struck = Counter(strike.function for strike in strikes)
    names = {*statistics, *known, *paused, *(s.function for s in strikes if s.function)}
    rows = [
        FunctionRow(
            name,
            statistics.get(name),
            paused.get(name),
            struck[name],
            known[name],
        )
        for name in names
    ]
    return sorted(rows, key=lambda row: (-(row.statistics.runs if row.statistics else 0), row.name))


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """A worker that lives, and its runs. `process`: its entry in the report of the pool."""

    worker: WorkerInfo
    host: str
    runs: tuple[ExecutionSummary, ...]
    run_count: int
    process: Mapping[str, Any] | None


async def workers(view: View) -> dict[str, Any]:
    """Read the workers that live, what each runs, and the pool beside them."""
    shown = view.shown
    assert shown is not None
    alive, running, backlog = await asyncio.gather(
        shown.workers.get(), shown.running.get(), shown.backlog.get()
    )
    pool = await view.pool_report()
    processes = {} if pool is None else {_name(each): each for each in pool.get("workers", ())}
    by_worker: dict[str | None, list[ExecutionSummary]] = {}
    for each in running.executions:
        by_worker.setdefault(each.worker, []).append(each)
    rows = [
        LiveWorker(
            each,
            each.name.partition("#")[0],
            tuple(by_worker.get(each.name, ())[:_NAMED]),
            len(by_worker.get(each.name, ())),
            processes.get(each.name),
        )
        for each in alive
    ]
    gone = {
        name: runs for name, runs in by_worker.items() if name not in {r.worker.name for r in rows}
    }
    return {
        "rows": rows,
        "hosts": sorted({row.host for row in rows}),
        "gone": sorted((name or "–", len(runs)) for name, runs in gone.items()),
        "is_partial": running.cursor is not None,
        "backlog": backlog,
        "pool": pool,
    }


def _name(process: Mapping[str, Any]) -> str:
    # The pool names consumers: that of the worker, a dot, and a part of its own.
    name = str(process.get("name", ""))
    return name.rpartition(".")[0] or name
