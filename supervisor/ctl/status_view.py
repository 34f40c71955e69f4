"""The picture of a pool that `ctl status` shows: a report in, lines out (pure).

From top to bottom: what it is and how it is, a row for each worker, a row of sums, what went wrong
so far, and what has been running for longest. Where the terminal is narrow, columns that say
nothing just now (no retries, one generation) go first.
"""

from collections.abc import Callable
from dataclasses import dataclass

from supervisor.ctl.report import PoolReport, ReportedWorker
from supervisor.ctl.table import Column, Line, Piece, cut, table
from supervisor.text import durations, sizes
from supervisor.text.plurals import pluralize
from supervisor.text.truncation import escape

#: Tasks listed as the longest running.
LONGEST = 5
#: Columns for a function's name, and for a key, at most.
NAME_WIDTH = 40
#: A loop that is this late is worth a look, and this late is ill.
LATE_SECONDS = 0.1
VERY_LATE_SECONDS = 1.0
#: Heartbeats come twice a second; without one for so long the loop is silent.
SILENT_SECONDS = 2.0

_STATES = {
    "ready": "green",
    "running": "green",
    "starting": "yellow",
    "reloading": "yellow",
    "draining": "yellow",
    "dead": "red",
}
#: Rows that stay on a low terminal, so that it is still a picture.
_LEAST_ROWS = 3


def render(report: PoolReport, width: int | None = None, height: int | None = None) -> list[Line]:
    """The lines.

    Arguments:
        width: columns of the terminal; None: any.
        height: lines of the terminal; None: any. Of too many workers the last are only counted.
    """
    head, foot = _head(report), [*_troubles(report), *_longest(report)]
    # Beside the rows: two blank lines, titles, sums, what there is no room for, in both directions.
    room = None if height is None else max(_LEAST_ROWS, height - len(head) - len(foot) - 6)
    lines, hidden = table(_columns(report, room), width)
    left_out = 0 if room is None else max(0, len(report.workers) - room)
    if left_out:
        lines.insert(-1, (Piece(f"and {pluralize(left_out, 'worker')} more", "dim"),))
    if hidden:
        foot.append((Piece(f"no room for: {', '.join(hidden)}", "dim"),))
    return [cut(line, width) for line in (*head, (), *lines, (), *foot)]


def _head(report: PoolReport) -> list[Line]:
    pool = report.supervisor
    ready = sum(each.state == "ready" for each in report.workers)
    facts = (
        f"{ready} of {pluralize(pool.target, 'worker')} ready",
        f"up {_age(pool.uptime_seconds)}",
        f"generation {pool.generation}",
        f"pid {pool.pid}",
    )
    where = Piece(f" at {escape(pool.url)}")
    state = Piece(escape(pool.state), _STATES.get(pool.state, ""))
    head: list[Line] = [
        (Piece("docket "), Piece(escape(pool.docket), "bold"), where),
        (state, Piece(", " + ", ".join(facts))),
    ]
    if pool.reload_error is not None:
        error = " ".join(escape(pool.reload_error.replace("\n", " ")).split())
        head.append((Piece(f"the last reload failed: {error}", "red"),))
    return head


def _columns(report: PoolReport, room: int | None) -> list[Column]:
    """Those of the table; the last row has the sums of all workers, the gone ones too."""
    return [
        Column(
            each.title,
            [*map(each.cell, report.workers[:room]), each.sum(report)],
            # Whatever says nothing is given up before anything that does.
            None if each.rank is None else each.rank + 100 * each.tells(report),
            left=each.title == "state",
        )
        for each in _SHOWN
    ]


def _count(number: int, style: str = "") -> Piece:
    """A number in its style; a zero is there to be seen through."""
    if number < 1_000_000:
        text = f"{number:,}"
    elif number < 1_000_000_000:
        text = f"{number / 1_000_000:.2f}M"
    else:
        text = f"{number / 1_000_000_000:.2f}G"
    return Piece(text, style if number else "dim")


def _counter(
    title: str, field: str, rank: int, style: str = "", *, always: bool = False
) -> "_Shown":
    """A column of one of the counters, which the totals have by the same name."""
    return _Shown(
        title,
        lambda worker: _count(getattr(worker, field), style),
        lambda report: _count(getattr(report.totals, field), style),
        rank,
        lambda report: always or getattr(report.totals, field) > 0,
    )


def _usage(title: str, field: str, form: str, rank: int) -> "_Shown":
    """A column of what workers use, and its sum; an older supervisor does not tell it."""

    def total(report: PoolReport) -> float | None:
        known = [used for each in report.workers if (used := getattr(each, field)) is not None]
        return sum(known) if known else None

    def piece(used: float | None) -> Piece:
        return Piece("-" if used is None else form.format(used))

    return _Shown(
        title,
        lambda worker: piece(getattr(worker, field)),
        lambda report: piece(total(report)),
        rank,
        lambda report: total(report) is not None,
    )


def _age(seconds: float) -> str:
    """`12s`, `3m20s`, `3h12m`, `5d03h`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02d}h"
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def _pid(worker: ReportedWorker) -> Piece:
    return Piece("-" if worker.pid is None else str(worker.pid))


def _state(worker: ReportedWorker) -> Piece:
    return Piece(escape(worker.state), _STATES.get(worker.state, ""))


def _lag(worker: ReportedWorker) -> Piece:
    silent, late = worker.heartbeat_age_seconds, worker.loop_lag_seconds
    if late is None or worker.state == "dead":
        return Piece("-")
    if silent is not None and silent > SILENT_SECONDS:
        return Piece(f"silent {_age(silent)}", "red")
    style = "red" if late >= VERY_LATE_SECONDS else "yellow" if late >= LATE_SECONDS else ""
    return Piece(durations.brief(late), style)


def _memory(worker: ReportedWorker) -> Piece:
    bytes_ = _resident(worker)
    return Piece("-" if bytes_ is None else sizes.brief(bytes_))


def _all_memory(report: PoolReport) -> Piece:
    return Piece(sizes.brief(sum(_resident(each) or 0 for each in report.workers)))


def _resident(worker: ReportedWorker) -> int | None:
    """None for one that is dead too: what it had is free."""
    return None if worker.state == "dead" else worker.rss_bytes


def _nothing(_report: PoolReport) -> Piece:
    return Piece("")


def _yes(_report: PoolReport) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class _Shown:
    """A column: what it has for a worker and for all, its rank, and whether it says anything."""

    title: str
    cell: Callable[[ReportedWorker], Piece]
    sum: Callable[[PoolReport], Piece] = _nothing
    rank: int | None = None
    tells: Callable[[PoolReport], bool] = _yes


#: In this order. Those without a rank are never given up.
_SHOWN = (
    _Shown("slot", lambda each: Piece(str(each.slot)), lambda _: Piece("all", "dim")),
    _Shown("pid", _pid, rank=6),
    _Shown("state", _state),
    _Shown(
        "gen",
        lambda each: Piece(str(each.generation)),
        rank=1,
        tells=lambda report: len({each.generation for each in report.workers}) > 1,
    ),
    _Shown("up", lambda each: Piece(_age(each.uptime_seconds)), rank=4),
    _counter("restarts", "restarts", 9, "yellow"),
    _Shown(
        "running",
        lambda each: _count(each.in_flight, "bold"),
        lambda report: _count(sum(each.in_flight for each in report.workers), "bold"),
    ),
    _counter("started", "started", 7, always=True),
    _counter("ok", "succeeded", 3, always=True),
    _counter("failed", "failed", 10, "red"),
    _counter("retried", "retried", 2, "yellow"),
    _counter("redelivered", "redelivered", 8, "yellow"),
    _Shown("lag", _lag, rank=5),
    _Shown("memory", _memory, _all_memory, rank=6),
    # Of the columns that say something these two go first.
    _usage("cpu", "cpu_percent", "{:.0f}%", 0),
    _usage("fds", "open_descriptors", "{:,}", -1),
)


def _troubles(report: PoolReport) -> list[Line]:
    totals = report.totals
    seen = (
        (totals.crashes, "crash", "crashes"),
        (totals.stalls, "stall", "stalls"),
        (totals.poisoned, "task failed as poison", "tasks failed as poison"),
    )
    told = [f"{number:,} {one if number == 1 else many}" for number, one, many in seen if number]
    return [(Piece("so far: " + ", ".join(told), "yellow"),)] if told else []


def _longest(report: PoolReport) -> list[Line]:
    running = [(task, worker) for worker in report.workers for task in worker.tasks]
    running.sort(key=lambda pair: pair[0].seconds, reverse=True)
    longest = running[:LONGEST]
    if not longest:
        return [(Piece("nothing is running", "dim"),)]
    columns = [
        Column("longest running", [Piece(_age(task.seconds)) for task, _ in longest]),
        Column("task", [_name(task.function) for task, _ in longest], left=True),
        Column("key", [_name(task.key) for task, _ in longest], left=True),
        Column("slot", [Piece(str(worker.slot)) for _, worker in longest]),
    ]
    return table(columns, None)[0]


def _name(text: str) -> Piece:
    return Piece("".join(piece.text for piece in cut([Piece(escape(text))], NAME_WIDTH)))
