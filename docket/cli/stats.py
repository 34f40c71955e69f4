"""`docket stats`: what the workers of a docket did with each function."""

import asyncio
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import click
from rich.live import Live

from docket.backlog import Backlog
from docket.cli.durations import DURATION
from docket.cli.options import docket_options, option
from docket.cli.relative_time import absolute
from docket.cli.session import on_docket
from docket.cli.tables import (
    Table,
    drawn,
    is_terminal,
    json_option,
    show,
    show_json,
    terminal,
)
from docket.docket import Docket
from docket.options import DocketOptions
from docket.statistics import FunctionStatistics, Times

#: Time between two looks of --watch, in seconds: workers report every five.
WATCH_SECONDS = 2.0

_HEADINGS = (
    *("Function", "Runs", "Per Minute", "Failed", "Retried", "Redelivered"),
    *("Wait p50", "Wait p95", "Wait p99", "Run p50", "Run p95", "Run p99"),
)
#: A narrow terminal keeps, beside the runs and the failures, the times of the slower ones longest.
_EXPENDABLE = (
    *("Wait p50", "Run p50", "Wait p99", "Run p99", "Per Minute"),
    *("Retried", "Redelivered", "Wait p95", "Run p95"),
)


@click.command()
@docket_options
@option(
    "--over",
    type=DURATION,
    default="1h",
    help="The time to look back; beyond two hours it begins with a quarter of an hour.",
)
@click.option("--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@json_option
def stats(chosen: DocketOptions, over: timedelta, watch: bool, as_json: bool) -> None:
    """Show what waits on the docket, and what its workers did with each function."""

    async def act(docket: Docket) -> None:
        try:
            await _show(docket, over, watch=watch, as_json=as_json)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--over") from error

    try:
        on_docket(chosen, act)
    except KeyboardInterrupt:
        if not watch:
            raise


async def _show(docket: Docket, over: timedelta, *, watch: bool, as_json: bool) -> None:
    if watch and is_terminal() and not as_json:
        with Live(console=terminal(), auto_refresh=False) as live:
            while True:
                seen = drawn(await _table(docket, over), live.console.width)
                live.update(seen, refresh=True)
                await asyncio.sleep(WATCH_SECONDS)
    while True:
        if as_json:
            show_json(await _values(docket, over))
        else:
            show(await _table(docket, over))
        if not watch:
            return
        await asyncio.sleep(WATCH_SECONDS)


async def _values(docket: Docket, over: timedelta) -> dict[str, Any]:
    backlog, statistics = await asyncio.gather(docket.backlog(), docket.statistics(over))
    return {
        "docket": docket.name,
        "backlog": asdict(backlog),
        "since": statistics.since.isoformat(),
        "until": statistics.until.isoformat(),
        "functions": {name: asdict(each) for name, each in statistics.functions.items()},
        "total": asdict(statistics.total),
    }


async def _table(docket: Docket, over: timedelta) -> Table:
    backlog, statistics = await asyncio.gather(docket.backlog(), docket.statistics(over))
    title = [
        f"Docket: {docket.name!r}",
        f"from {absolute(statistics.since)} to {absolute(statistics.until)}",
        *_sentences(backlog),
    ]
    table = Table(
        title,
        _HEADINGS,
        frozenset(_HEADINGS[1:]),
        names=frozenset({"Function"}),
        expendable=_EXPENDABLE,
    )
    busiest = sorted(statistics.functions.items(), key=lambda item: (-item[1].runs, item[0]))
    for name, each in busiest:
        table.rows.append([name, *_cells(each)])
    if len(busiest) > 1:
        table.rows.append(["(all)", *_cells(statistics.total)])
    return table


def _sentences(backlog: Backlog) -> list[str]:
    ready, late = backlog.oldest_ready_seconds, backlog.lateness_seconds
    waits = "" if ready is None else f", the oldest for {_brief(ready)}"
    overdue = f", the first is {_brief(late)} late" if late else ""
    workers = _counted(backlog.workers, "worker")
    present = (
        f"{backlog.queued} queued{waits}; {backlog.running} running on {workers}; "
        f"{backlog.scheduled} scheduled{overdue}"
    )
    held_up = (
        f"{backlog.waiting} waiting for a limit, {backlog.paused} paused by "
        f"{_counted(backlog.pauses, 'pause')}, {backlog.failed_kept} failed kept"
    )
    return [present, held_up]


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing if number == 1 else f'{thing}s'}"


def _cells(each: FunctionStatistics) -> list[str]:
    rate = "" if not each.failed or each.failure_rate is None else f" ({each.failure_rate:.1%})"
    return [
        str(each.runs),
        f"{each.runs_per_minute:.3g}",
        f"{each.failed}{rate}",
        str(each.retried),
        str(each.redelivered),
        *_percentiles(each.waiting),
        *_percentiles(each.running),
    ]


def _percentiles(times: Times | None) -> list[str]:
    if times is None:
        return ["-", "-", "-"]
    return [_brief(each) for each in (times.p50_seconds, times.p95_seconds, times.p99_seconds)]


def _brief(seconds: float) -> str:
    """Return `12ms`, `1.25s` or `3m10s`."""
    if seconds < 0.9995:
        return f"{1000 * seconds:.3g}ms"
    if seconds < 59.95:
        return f"{seconds:.3g}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02}s"
