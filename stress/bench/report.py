"""What a bench found: figures with their samples and targets, as a table and as a record."""

import datetime
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One measured thing over all rounds; what counts is the median.

    Args:
        name: what was measured.
        samples: one value a round.
        unit: of the samples.
        at_least: the target, if more is better.
        at_most: the target, if less is better.
    """

    name: str
    samples: Sequence[float]
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the target; None without one."""
        if self.at_least is not None:
            return self.median >= self.at_least
        if self.at_most is not None:
            return self.median <= self.at_most
        return None

    @property
    def target(self) -> str:
        if self.at_least is not None:
            return f"at least {_short(self.at_least)}"
        return "" if self.at_most is None else f"at most {_short(self.at_most)}"


@dataclass
class Report:
    """All figures of one bench, and under what conditions they were taken."""

    bench: str
    conditions: Mapping[str, Any]
    figures: list[Figure] = field(default_factory=list)

    def show(self, console: Console) -> None:
        """The table for people."""
        given = ", ".join(f"{name} {value}" for name, value in self.conditions.items())
        table = Table(title=f"{self.bench}: {given}", title_justify="left", caption_justify="left")
        table.add_column("what")
        for column in ("median", "least", "most", "unit", "target"):
            table.add_column(column, justify="right" if column != "unit" else "left")
        table.add_column("")
        for figure in self.figures:
            spread = (figure.median, min(figure.samples), max(figure.samples))
            verdict = {None: "", True: "[green]reached", False: "[red]missed"}[figure.reached]
            numbers = (_short(value) for value in spread)
            table.add_row(figure.name, *numbers, figure.unit, figure.target, verdict)
        console.print(table)

    def record(self) -> dict[str, Any]:
        """The same for programs, with the machine."""
        return {
            "bench": self.bench,
            "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "conditions": dict(self.conditions),
            "figures": [
                {
                    "name": figure.name,
                    "unit": figure.unit,
                    "median": figure.median,
                    "samples": list(figure.samples),
                    "at_least": figure.at_least,
                    "at_most": figure.at_most,
                    "reached": figure.reached,
                }
                for figure in self.figures
            ],
        }


def machine() -> dict[str, Any]:
    """What of this machine explains a figure."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(terse=True),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def percentile(samples: Sequence[float], percent: float) -> float:
    """The least sample that `percent` of all do not exceed."""
    ordered = sorted(samples)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1]


def _short(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
