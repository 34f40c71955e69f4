"""Measured figures with the limits that they must keep, as a table and as a record; verdicts."""

import datetime
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import click
from rich.console import Console
from rich.table import Table

#: Columns of a table that goes to a file.
PLAIN_WIDTH = 120

#: A statistic of samples.
Statistic = Literal["median", "p99", "least", "most"]
STATISTICS: tuple[Statistic, ...] = ("median", "p99", "least", "most")


@dataclass(frozen=True)
class Limit:
    """A limit that a figure must keep.

    Arguments:
        of: the statistic that is judged.
        at_least: it may not be less than this.
        at_most: it may not be more than this.
        below: it may not be as much as this.
    """

    of: Statistic
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None

    def holds(self, value: float) -> bool:
        """Return True if the statistic may have that value."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        said = {"at least": self.at_least, "at most": self.at_most, "under": self.below}
        bounds = [f"{word} {short(bound)}" for word, bound in said.items() if bound is not None]
        # The most that is at most 2 is just "at most 2".
        of = [] if self.of in ("least", "most") else [self.of]
        return " ".join([*of, *bounds])


@dataclass(frozen=True)
class Figure:
    """The samples of one measurement.

    Arguments:
        name: of the measurement.
        samples: at least one value.
        unit: of the samples.
        limit: the limit that it must keep, if any.
    """

    name: str
    samples: Sequence[float]
    unit: str = ""
    limit: Limit | None = None

    def value_of(self, statistic: Statistic) -> float:
        """Compute a statistic of the samples; the p99 of fewer than 100 is the most of them."""
        match statistic:
            case "median":
                return statistics.median(self.samples)
            case "p99":
                return percentile(self.samples, 99)
            case "least":
                return min(self.samples)
            case "most":
                return max(self.samples)

    @property
    def reached(self) -> bool | None:
        """Return True if its limit is kept; None without a limit."""
        return None if self.limit is None else self.limit.holds(self.value_of(self.limit.of))

    @property
    def must(self) -> str:
        """The limit in words."""
        return "" if self.limit is None else str(self.limit)

    def record(self) -> dict[str, Any]:
        """The figure as plain values."""
        return {
            "name": self.name,
            "unit": self.unit,
            **{statistic: self.value_of(statistic) for statistic in STATISTICS},
            "samples": list(self.samples),
            "must": self.must or None,
            "reached": self.reached,
        }


@dataclass(frozen=True)
class Report:
    """All figures of one scenario, and the conditions under which they were taken."""

    scenario: str
    conditions: Mapping[str, Any]
    figures: Sequence[Figure] = field(default_factory=list[Figure])

    @property
    def missed(self) -> list[Figure]:
        """The figures that do not keep their limits."""
        return [figure for figure in self.figures if figure.reached is False]

    def show(self, console: Console) -> None:
        """Print the report as a table."""
        given = ", ".join(f"{name} {value}" for name, value in self.conditions.items())
        table = Table(title=f"{self.scenario}: {given}", title_justify="left")
        table.add_column("figure", min_width=34)
        for column in STATISTICS:
            table.add_column(column, justify="right", no_wrap=True)
        for column in ("unit", "must be", ""):
            table.add_column(column, no_wrap=True)
        for figure in self.figures:
            verdict = {None: "", True: "[green]reached", False: "[red]missed"}[figure.reached]
            values = (short(figure.value_of(each)) for each in STATISTICS)
            table.add_row(figure.name, *values, figure.unit, figure.must, verdict)
        console.print(table)

    def record(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "scenario": self.scenario,
            "conditions": dict(self.conditions),
            "figures": [figure.record() for figure in self.figures],
        }


def publish(reports: Iterable[Report], *, as_json: bool) -> bool:
    """Print reports, each as soon as it is there; return True if every limit is kept.

    Arguments:
        reports: may measure while they are iterated.
        as_json: print one record of all of them, instead of the tables.
    """
    published: list[Report] = []
    for report in reports:
        published.append(report)
        if not as_json:
            report.show(Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH))
    missed = [figure.name for report in published for figure in report.missed]
    if as_json:
        record = {
            "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "scenarios": [report.record() for report in published],
            "missed": missed,
        }
        click.echo(json.dumps(record, indent=2))
    else:
        click.echo("measured on " + ", ".join(f"{k} {v}" for k, v in machine().items()))
    return not missed


def machine() -> dict[str, Any]:
    """The properties of this machine that explain a figure."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(terse=True),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def percentile(samples: Sequence[float], percent: float) -> float:
    """Find the least sample that `percent` of all do not exceed."""
    ordered = sorted(samples)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1]


def short(value: float) -> str:
    """Format with about three digits; a whole number as one."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def verdict_lines(violations: list[str], most_shown: int | None = None) -> list[str]:
    """Say in a line how many promises were broken, and list them below it.

    Arguments:
        violations: a sentence each.
        most_shown: the most that are listed; the others are counted. None lists all.
    """
    if not violations:
        return ["every promise was kept"]
    count = len(violations)
    shown = violations[:most_shown]
    more = count - len(shown)
    return [
        "1 promise was broken:" if count == 1 else f"{count} promises were broken:",
        *(f"  {each}" for each in shown),
        *([f"  and {more} more"] if more else ()),
    ]
