"""Charts as numbers for an SVG: the pages draw them, no script is needed (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from docket.statistics import PeriodTotal

#: The size of the drawing, in its own units.
WIDTH, HEIGHT = 600, 120


@dataclass(frozen=True, slots=True)
class Bar:
    """One period: its place, and the heights of its parts from the bottom up."""

    x: float
    width: float
    succeeded_y: float
    succeeded_height: float
    failed_y: float
    failed_height: float
    since: datetime
    succeeded: int
    failed: int


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars over time. `most`: what the full height stands for; `total_runs`: all together."""

    bars: tuple[Bar, ...]
    most: int
    total_runs: int
    total_failed: int
    width: int = WIDTH
    height: int = HEIGHT


def throughput(periods: Sequence[PeriodTotal]) -> Chart:
    """Draw the attempts that ended in each period: those that succeeded, and on them the others."""
    most = _round_up(max((_ended(each) for each in periods), default=0))
    step = WIDTH / max(1, len(periods))
    bars = tuple(_bar(each, place * step, step * 0.82, most) for place, each in enumerate(periods))
    failed = sum(each.total.failed for each in periods)
    return Chart(bars, most, sum(map(_ended, periods)), failed)


def _ended(period: PeriodTotal) -> int:
    return period.total.succeeded + period.total.failed


def _bar(period: PeriodTotal, x: float, width: float, most: int) -> Bar:
    succeeded = HEIGHT * period.total.succeeded / most
    failed = HEIGHT * period.total.failed / most
    return Bar(
        x=round(x, 2),
        width=round(width, 2),
        succeeded_y=round(HEIGHT - succeeded, 2),
        succeeded_height=round(succeeded, 2),
        failed_y=round(HEIGHT - succeeded - failed, 2),
        failed_height=round(failed, 2),
        since=period.since,
        succeeded=period.total.succeeded,
        failed=period.total.failed,
    )


def _round_up(value: int) -> int:
    """Return the next of 1, 2, 3, 4, 6, 8, 10, 20, 30 and so on."""
    step = 1
    while value > 10 * step:
        step *= 10
    return next(factor * step for factor in (1, 2, 3, 4, 6, 8, 10) if value <= factor * step)
