"""The overview of a docket, and the list of dockets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from docket.backlog import Backlog
from docket.errors import DocketError
from docket.inspection import WorkerInfo
from docket.pauses import Pause
from docket.web import charts, phrases
from docket.web.shelf import SPANS, ShownDocket
from docket.web.view import View

#: Tasks that are due and not made ready after so many seconds: nobody promotes them.
_LATE_SECONDS = 5.0
#: Functions that the overview names; the page of functions has all.
_NAMED = 12


@dataclass(frozen=True, slots=True)
class Banner:
    """Something that an operator should know. `level`: alarm, or note."""

    level: str
    text: str
    page: str = ""
    label: str = ""


async def dockets(view: View) -> dict[str, Any]:
    """Read the numbers of each docket."""
    rows = await asyncio.gather(*(_row(each) for each in view.site.shelf))
    return {"rows": rows}


async def _row(shown: ShownDocket) -> dict[str, Any]:
    try:
        await shown.open()
        backlog = await shown.backlog.get()
        pauses = await shown.pauses.get()
    except DocketError as error:
        return {"shown": shown, "backlog": None, "trouble": str(error), "banners": []}
    banners = banners_of(backlog, pauses, None)
    return {"shown": shown, "backlog": backlog, "trouble": None, "banners": banners}


async def overview(view: View) -> dict[str, Any]:
    """Read the numbers, statistics and newest failures of a docket."""
    shown = view.shown
    assert shown is not None
    over = view.query.get("over", "1h")
    over = over if over in SPANS else "1h"
    backlog, workers, pauses, failures, evicting, statistics = await asyncio.gather(
        shown.backlog.get(),
        shown.workers.get(),
        shown.pauses.get(),
        shown.failures.get(),
        shown.is_evicting.get(),
        shown.statistics(over),
    )
    summed, periods = statistics
    busiest = sorted(summed.functions.items(), key=lambda item: (-item[1].runs, item[0]))
    return {
        "over": over,
        "spans": list(SPANS),
        "backlog": backlog,
        "workers": workers,
        "banners": [*_unknown(workers, busiest, backlog), *banners_of(backlog, pauses, evicting)],
        "failures": failures,
        "statistics": summed,
        "chart": charts.throughput(periods),
        "functions": busiest[:_NAMED],
        "more_functions": max(0, len(busiest) - _NAMED),
    }


def banners_of(backlog: Backlog, pauses: Sequence[Pause], evicting: str | None) -> list[Banner]:
    """Say what an operator should know, the worst first."""
    found: list[Banner] = []
    if backlog.queued and not backlog.workers:
        waits = phrases.brief(backlog.oldest_ready_seconds)
        found.append(
            Banner(
                "alarm",
                f"{phrases.tasks(backlog.queued)} wait{'s' if backlog.queued == 1 else ''}, the "
                f"oldest for {waits}, and no worker is alive. Start one, or see why they ended.",
                "workers",
                "Workers",
            )
        )
    if evicting is not None:
        found.append(
            Banner(
                "alarm",
                f"The server evicts keys when its memory is full (maxmemory-policy {evicting}): "
                "tasks that were accepted vanish then. Set it to noeviction.",
            )
        )
    if (backlog.lateness_seconds or 0) > _LATE_SECONDS:
        late = phrases.brief(backlog.lateness_seconds)
        found.append(
            Banner(
                "alarm",
                f"Scheduled tasks are due for {late} and are not made ready: no worker does it.",
                "tasks?state=scheduled",
                "Scheduled tasks",
            )
        )
    return [*found, *map(_of_pause, pauses)]


def _of_pause(pause: Pause) -> Banner:
    what = "The whole docket" if pause.function is None else f"{pause.function}"
    until = "" if pause.until is None else f" until {phrases.absolute(pause.until)}"
    by = f" by {pause.by}" if pause.by else ""
    why = f": {pause.reason}" if pause.reason else "."
    level = "alarm" if pause.function is None else "note"
    return Banner(level, f"{what} is paused{until}{by}{why}", "holds", "Pauses")


def _unknown(
    workers: Sequence[WorkerInfo], busiest: Sequence[tuple[str, Any]], backlog: Backlog
) -> list[Banner]:
    """Say which functions ran before and are known by no worker that lives."""
    if not workers or not backlog.queued:
        return []
    known = {name for worker in workers for name in worker.tasks}
    missing = [name for name, _ in busiest if name not in known and not name.startswith("(")]
    if not missing:
        return []
    names = ", ".join(missing[:5]) + (" and others" if len(missing) > 5 else "")
    return [Banner("note", f"No worker that lives can run {names}.", "workers", "Workers")]


__all__ = ["Banner", "banners_of", "dockets", "overview"]
