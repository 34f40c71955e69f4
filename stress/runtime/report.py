"""Figures of the runtime with the limits that they must keep, as a table and as a record (pure)."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from stress.bench.report import percentile

#: What of the samples a limit judges.
Statistic = Literal["median", "p99", "least", "most"]


@dataclass(frozen=True)
class Limit:
    """What must be reached.

    Args:
        of: which statistic is judged.
        at_least: it may not be less than this.
        at_most: it may not be more than this.
        below: it may not be as much as this.
    """

    of: Statistic
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None

    def holds(self, value: float) -> bool:
        """Whether that value of the statistic is within it."""
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
    """One measured thing.

    Args:
        name: what was measured.
        samples: at least one value.
        unit: of the samples.
        limit: what it must keep, if anything.
    """

    name: str
    samples: Sequence[float]
    unit: str = ""
    limit: Limit | None = None

    def value_of(self, statistic: Statistic) -> float:
        """A statistic of the samples; the p99 of fewer than 100 is the most of them."""
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
        """Whether its limit is kept; None without one."""
        return None if self.limit is None else self.limit.holds(self.value_of(self.limit.of))

    def record(self) -> dict[str, Any]:
        """For programs."""
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.value_of("median"),
            "p99": self.value_of("p99"),
            "least": self.value_of("least"),
            "most": self.value_of("most"),
            "samples": list(self.samples),
            "must": None if self.limit is None else str(self.limit),
            "reached": self.reached,
        }


@dataclass(frozen=True)
class Report:
    """All figures of one scenario, and under what conditions they were taken."""

    scenario: str
    conditions: Mapping[str, Any]
    figures: Sequence[Figure] = field(default_factory=list[Figure])

    @property
    def missed(self) -> list[Figure]:
        """The figures that do not keep their limits."""
        return [figure for figure in self.figures if figure.reached is False]

    def show(self, console: Console) -> None:
        """The table for people."""
        given = ", ".join(f"{name} {value}" for name, value in self.conditions.items())
        table = Table(title=f"{self.scenario}: {given}", title_justify="left")
        table.add_column("what", min_width=34)
        for column in ("median", "p99", "least", "most"):
            table.add_column(column, justify="right", no_wrap=True)
        for column in ("unit", "must be", ""):
            table.add_column(column, no_wrap=True)
        for figure in self.figures:
            verdict = {None: "", True: "[green]reached", False: "[red]missed"}[figure.reached]
            values = (figure.value_of(each) for each in ("median", "p99", "least", "most"))
            must = "" if figure.limit is None else str(figure.limit)
            table.add_row(figure.name, *map(short, values), figure.unit, must, verdict)
        console.print(table)

    def record(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "scenario": self.scenario,
            "conditions": dict(self.conditions),
            "figures": [figure.record() for figure in self.figures],
        }


def short(value: float) -> str:
    """With three digits or so; a whole number as one."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
