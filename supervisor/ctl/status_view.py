"""The report of a pool as `ctl status` shows it: values in, lines out (pure).

From top to bottom: the docket and the state of its pool, a row for each worker, a row of sums,
crashes and stalls so far, and the tasks that have been running for longest. Where the terminal is
narrow, columns without news (no retries, one generation) go first; state, running, ok and failed
stay. Sentences wrap, rows of a table do not.
"""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from docket_display.printable import on_one_line
from docket_display.shortening import shorten
from supervisor.ctl.report import PoolReport, ReportedBacklog, ReportedScaling, ReportedWorker
from supervisor.ctl.table import Column, cut, table
from supervisor.text import durations, sizes
from supervisor.text.plurals import pluralize

#: Tasks listed as the longest running.
LONGEST = 5
#: Maximum width of a function's name, and of a key, in columns; and that on a narrow terminal.
NAME_WIDTH = 40
_LEAST_NAME = 8
#: Lag of an event loop from which it is shown in yellow, and in red.
LATE_SECONDS = 0.1
VERY_LATE_SECONDS = 1.0
#: Wait of the oldest ready task from which it is shown in yellow, and in red.
LONG_SECONDS = 10.0
VERY_LONG_SECONDS = 60.0
#: A loop is shown as silent once its last heartbeat (two come a second) is older than this.
SILENT_SECONDS = 2.0

_STATES = {
    "ready": "green",
    "running": "green",
    "starting": "yellow",
    "reloading": "yellow",
    "draining": "yellow",
    "waiting": "red",
    "silent": "red",
    "dead": "red",
}
#: Rich asks it for nothing but the defaults of a wrapping.
_NO_CONSOLE = Console(file=io.StringIO())
#: Rows of workers that are shown on the lowest terminal.
_LEAST_ROWS = 3


def render(report: PoolReport, width: int | None = None, height: int | None = None) -> list[Text]:
    """The lines of the report.

    Arguments:
        width: columns of the terminal; None: any.
        height: lines of the terminal; None: any. Workers that do not fit are only counted.
    """
    head = _wrapped(_head(report), width)
    foot = [*_wrapped(_troubles(report), width), *_longest(report, width)]
    # Besides the rows: two blank lines, the titles, the sums, and a line each for the workers and
    # for the columns that are left out.
    room = None if height is None else max(_LEAST_ROWS, height - len(head) - len(foot) - 6)
    lines, hidden = table(_columns(report, room), width)
    left_out = 0 if room is None else max(0, len(report.workers) - room)
    if left_out:
        lines.insert(-1, Text(f"and {pluralize(left_out, 'worker')} more", "dim"))
    if hidden:
        foot += _wrapped([Text(f"no room for: {', '.join(hidden)}", "dim")], width)
    return [cut(line, width) for line in (*head, Text(), *lines, Text(), *foot)]


def _wrapped(sentences: Sequence[Text], width: int | None) -> list[Text]:
    """Wrap sentences between their words."""
    if width is None:
        return list(sentences)
    return [line for each in sentences for line in _lines_of(each, width)]


def _lines_of(sentence: Text, width: int) -> Iterator[Text]:
    for line in sentence.wrap(_NO_CONSOLE, width):
        line.rstrip()
        yield line


def _head(report: PoolReport) -> list[Text]:
    pool = report.supervisor
    ready = pool.ready_workers
    if ready is None:  # an older supervisor
        ready = sum(each.state == "ready" for each in report.workers)
    facts = (
        f"{ready} of {pluralize(pool.target, 'worker')} ready",
        f"up {durations.age(pool.uptime_seconds)}",
        f"generation {pool.generation}",
        f"pid {pool.pid}",
    )
    head = [
        Text.assemble(
            "docket ", (on_one_line(pool.docket), "bold"), f" at {on_one_line(pool.url)}"
        ),
        Text.assemble(_coloured(pool.state), ", " + ", ".join(facts)),
    ]
    troubles: list[str] = []
    if pool.not_ready_because not in (None, "draining", "booting"):
        troubles.append(f"not ready: {_in_one_line(pool.not_ready_because)}")
    if pool.server_away is not None:
        troubles.append(f"the server is away: {_in_one_line(pool.server_away)}")
    if pool.drain_seconds_left is not None:
        head.append(_drain(pool.drain_seconds_left))
    if pool.scaling is not None:
        head.append(_scaling(pool.scaling))
    head += [Text(each, "red") for each in troubles]
    if pool.reload_error is not None:
        head.append(Text(f"the last reload failed: {_in_one_line(pool.reload_error)}", "red"))
    if report.backlog is not None:
        head.append(_backlog(report.backlog))
    return head


def _drain(seconds_left: float) -> Text:
    if seconds_left <= 0:
        return Text("what still runs is handed back now", "yellow")
    left = durations.age(math.ceil(seconds_left))
    return Text(f"what still runs in {left} is handed back", "yellow")


def _scaling(scaling: ReportedScaling) -> Text:
    line = Text(f"{scaling.least} to {scaling.most} workers, as the work needs")
    if scaling.held_because is not None:
        line.append(f"; held: {_in_one_line(scaling.held_because)}", "yellow")
    change = scaling.last_change
    if change is not None:
        reason = _in_one_line(change.reason)
        ago = durations.age(change.seconds_ago)
        line.append(f"; {ago} ago from {change.before} to {change.processes}: {reason}")
    return line


def _backlog(backlog: ReportedBacklog) -> Text:
    """The backlog of the docket on one line; rarer states only if there are some."""
    oldest, late = backlog.oldest_ready_seconds, backlog.lateness_seconds
    ready = Text(f"{backlog.queued:,} queued")
    if oldest is not None:
        ready.append(f", the oldest for {durations.brief(oldest)}", _lateness_style(oldest))
    scheduled = Text(f"{backlog.scheduled:,} scheduled")
    if late:
        scheduled.append(f", the first {durations.brief(late)} late", _lateness_style(late))
    counts = (
        (backlog.waiting, "waiting for a limit", ""),
        (backlog.paused, "paused", "yellow"),
        (backlog.pauses, "pause" if backlog.pauses == 1 else "pauses", "yellow"),
        (backlog.failed_kept, "failed kept", "red"),
    )
    facts = [ready, scheduled]
    facts += [Text(f"{number:,} {text}", style) for number, text, style in counts if number]
    facts.append(Text(f"{backlog.places_used:,} of {pluralize(backlog.places, 'place')} used"))
    return Text("; ").join(facts)


def _lateness_style(seconds: float) -> str:
    return "red" if seconds >= VERY_LONG_SECONDS else "yellow" if seconds >= LONG_SECONDS else ""


def _in_one_line(error: str) -> str:
    return " ".join(on_one_line(error.replace("\n", " ")).split())


def _columns(report: PoolReport, room: int | None) -> list[Column]:
    """The columns of the table; the last row has the sums of all workers, past ones included."""
    return [
        Column(
            each.title,
            [*map(each.cell, report.workers[:room]), each.sum(report)],
            # A column without news is given up before any that has some.
            None if each.rank is None else each.rank + 100 * each.has_news(report),
            left=each.title == "state",
        )
        for each in _SHOWN
    ]


def _count(number: int, style: str = "") -> Text:
    """A number in its style, a zero dimmed."""
    if number < 1_000_000:
        text = f"{number:,}"
    elif number < 1_000_000_000:
        text = f"{number / 1_000_000:.2f}M"
    else:
        text = f"{number / 1_000_000_000:.2f}G"
    return Text(text, style if number else "dim")


def _counter(
    title: str, field: str, rank: int | None = None, style: str = "", *, always: bool = False
) -> "_Shown":
    """The column of a counter, which has the same name in the totals."""
    return _Shown(
        title,
        lambda worker: _count(getattr(worker, field), style),
        lambda report: _count(getattr(report.totals, field), style),
        rank,
        lambda report: always or getattr(report.totals, field) > 0,
    )


def _usage(title: str, field: str, form: str, rank: int) -> "_Shown":
    """A column of what workers use, and its sum; an older supervisor does not report it."""

    def total(report: PoolReport) -> float | None:
        known = [used for each in report.workers if (used := getattr(each, field)) is not None]
        return sum(known) if known else None

    def cell(used: float | None) -> Text:
        return Text("-" if used is None else form.format(used))

    return _Shown(
        title,
        lambda worker: cell(getattr(worker, field)),
        lambda report: cell(total(report)),
        rank,
        lambda report: total(report) is not None,
    )


def _pid(worker: ReportedWorker) -> Text:
    return Text("-" if worker.pid is None else str(worker.pid))


def _coloured(state: str) -> Text:
    return Text(on_one_line(state), _STATES.get(state, ""))


def _state(worker: ReportedWorker) -> str:
    """The state of a worker, or what keeps one that was ready from claiming."""
    if worker.state != "ready" or worker.ready is not False:
        return worker.state
    return "silent" if worker.waiting is None else "waiting"


def _lag(worker: ReportedWorker) -> Text:
    silent, late = worker.heartbeat_age_seconds, worker.loop_lag_seconds
    if late is None or worker.state == "dead":
        return Text("-")
    if silent is not None and silent > SILENT_SECONDS:
        return Text(f"silent {durations.age(silent)}", "red")
    style = "red" if late >= VERY_LATE_SECONDS else "yellow" if late >= LATE_SECONDS else ""
    return Text(durations.brief(late), style)


def _memory(worker: ReportedWorker) -> Text:
    bytes_ = _resident(worker)
    return Text("-" if bytes_ is None else sizes.brief(bytes_))


def _all_memory(report: PoolReport) -> Text:
    return Text(sizes.brief(sum(_resident(each) or 0 for each in report.workers)))


def _resident(worker: ReportedWorker) -> int | None:
    """The memory of a worker; None if it is dead, whose memory is free, or not known."""
    return None if worker.state == "dead" else worker.rss_bytes


def _no_sum(_report: PoolReport) -> Text:
    return Text("")


def _always(_report: PoolReport) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class _Shown:
    """A column of the table of workers.

    Arguments:
        title: above it.
        cell: makes the text for one worker.
        sum: makes the text of the last row.
        rank: see `Column`; columns without news rank below all that have some.
        has_news: tells whether it shows anything worth its room.
    """

    title: str
    cell: Callable[[ReportedWorker], Text]
    sum: Callable[[PoolReport], Text] = _no_sum
    rank: int | None = None
    has_news: Callable[[PoolReport], bool] = _always


#: In this order. Those without a rank are never given up.
_SHOWN = (
    _Shown("slot", lambda each: Text(str(each.slot)), lambda _: Text("all", "dim")),
    _Shown("pid", _pid, rank=6),
    _Shown("state", lambda each: _coloured(_state(each))),
    _Shown(
        "gen",
        lambda each: Text(str(each.generation)),
        rank=1,
        has_news=lambda report: len({each.generation for each in report.workers}) > 1,
    ),
    _Shown("up", lambda each: Text(durations.age(each.uptime_seconds)), rank=4),
    _counter("restarts", "restarts", 9, "yellow"),
    _Shown(
        "running",
        lambda each: _count(each.in_flight, "bold"),
        lambda report: _count(sum(each.in_flight for each in report.workers), "bold"),
    ),
    _counter("started", "started", 7, always=True),
    _counter("ok", "succeeded"),
    _counter("failed", "failed", style="red"),
    _counter("retried", "retried", 2, "yellow"),
    _counter("redelivered", "redelivered", 8, "yellow"),
    _Shown("lag", _lag, rank=5),
    _Shown("memory", _memory, _all_memory, rank=6),
    # Of the columns that say something these two go first.
    _usage("cpu", "cpu_percent", "{:.0f}%", 0),
    _usage("fds", "open_descriptors", "{:,}", -1),
)


def _troubles(report: PoolReport) -> list[Text]:
    totals = report.totals
    counts = (
        (totals.crashes, "crash", "crashes"),
        (totals.stalls, "stall", "stalls"),
        (totals.poisoned, "task failed as poison", "tasks failed as poison"),
    )
    shown = [f"{number:,} {one if number == 1 else many}" for number, one, many in counts if number]
    return [Text("so far: " + ", ".join(shown), "yellow")] if shown else []


def _longest(report: PoolReport, width: int | None) -> list[Text]:
    running = [(task, worker) for worker in report.workers for task in worker.tasks]
    running.sort(key=lambda pair: pair[0].seconds, reverse=True)
    longest = running[:LONGEST]
    if not longest:
        return [Text("nothing is running", "dim")]
    room = NAME_WIDTH
    if width is not None:
        room = min(room, max(_LEAST_NAME, (width - len("longest running    slot  ")) // 2))
    columns = [
        Column("longest running", [Text(durations.age(task.seconds)) for task, _ in longest]),
        Column("task", [_name(task.function, room) for task, _ in longest], left=True),
        Column("key", [_name(task.key, room) for task, _ in longest], left=True),
        Column("slot", [Text(str(worker.slot)) for _, worker in longest]),
    ]
    return table(columns, None)[0]


def _name(text: str, room: int) -> Text:
    return Text(shorten(on_one_line(text), room))
