"""The figures of a comparison as a table with ratios: Markdown, a terminal's, and a record."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from stress.report import short

#: Units of rows in which more is better; of the others less is, or there is no better.
_MORE_IS_BETTER = frozenset({"/s"})
#: Units of rows that only describe what happened.
_NOT_COMPARED = frozenset({"tasks"})
NOTHING = "-"


@dataclass
class Row:
    """One figure of all contestants: the samples, by the name of the contestant."""

    name: str
    unit: str
    samples: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    def median(self, contestant: str) -> float | None:
        """The median of the rounds; None if there is none."""
        found = self.samples.get(contestant)
        return statistics.median(found) if found else None

    def best(self, contestants: Sequence[str]) -> str | None:
        """Name the contestant with the best median."""
        if self.unit in _NOT_COMPARED:
            return None
        medians = {each: value for each in contestants if (value := self.median(each)) is not None}
        # A negative time is that of tasks that began before they were due: no smaller lateness.
        medians = {each: value for each, value in medians.items() if value >= 0}
        if not medians:
            return None
        choose = max if self.unit in _MORE_IS_BETTER else min
        return choose(medians, key=lambda each: medians[each])

    def ahead(self, ours: str, best: str) -> float | None:
        """Compute how many times better ours is than another; below 1 it is behind."""
        mine, other = self.median(ours), self.median(best)
        if mine is None or other is None:
            return None
        above, below = (mine, other) if self.unit in _MORE_IS_BETTER else (other, mine)
        return above / below if below else None


@dataclass
class Comparison:
    """All that was found.

    Arguments:
        conditions: machine, server, sizes, date.
        contestants: the columns, ours first.
        ours: those of them that are ours.
        rows: in the order of the table.
        about: contestant -> its settings, runtime and versions.
        notes: why a contestant, or a figure of it, is not there.
    """

    conditions: Mapping[str, Any]
    contestants: list[str]
    ours: list[str]
    rows: list[Row]
    about: dict[str, dict[str, Any]]
    notes: list[str]

    @property
    def peers(self) -> list[str]:
        """The columns that are not ours."""
        return [each for each in self.contestants if each not in self.ours]

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """The head and the lines of the table: medians, the best peer, ours against it."""
        ratios = [f"{each} / best" for each in self.ours] if self.peers else []
        best = ["best peer"] if self.peers else []
        head = ["", *self.contestants, *best, *ratios]
        return head, [self._line(row) for row in self.rows]

    def _line(self, row: Row) -> list[str]:
        medians = [row.median(each) for each in self.contestants]
        line = [f"{row.name} ({row.unit})", *(_shown(value) for value in medians)]
        if self.peers:
            best = row.best(self.peers)
            ratios = [None if best is None else row.ahead(each, best) for each in self.ours]
            line += [best or NOTHING, *(_shown(each) for each in ratios)]
        return line

    def markdown(self) -> str:
        """The table, the settings and the notes, in Markdown."""
        head, lines = self.cells()
        parts = [f"- {name}: {value}" for name, value in self.conditions.items()]
        parts += ["", *_markdown_table(head, lines)]
        parts += ["", "A ratio above 1 is ahead, whichever way is better. Settings:", ""]
        parts += [f"- {self.introduced(each)}" for each in self.contestants if each in self.about]
        if self.notes:
            parts += ["", "Not there:", "", *(f"- {note}" for note in self.notes)]
        return "\n".join(parts)

    def introduced(self, contestant: str) -> str:
        """Say in a line what runs a contestant, and how it is set up."""
        about = self.about[contestant]
        settings = "; ".join(f"{name}: {value}" for name, value in about["settings"].items())
        return f"{contestant} ({about['runtime']}): {settings}"

    def table(self) -> Table:
        """The table for a terminal."""
        head, lines = self.cells()
        table = Table(title="peers", title_justify="left")
        table.add_column(head[0], no_wrap=True)
        for name in head[1:]:
            table.add_column(name, justify="right")
        for line in lines:
            table.add_row(*line)
        return table

    def record(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "conditions": dict(self.conditions),
            "contestants": self.about,
            "rows": [self._row_record(row) for row in self.rows],
            "notes": self.notes,
        }

    def _row_record(self, row: Row) -> dict[str, Any]:
        best = row.best(self.peers)
        ahead = {each: row.ahead(each, best) for each in self.ours} if best else {}
        medians = {each: row.median(each) for each in row.samples}
        return {
            "name": row.name,
            "unit": row.unit,
            "samples": row.samples,
            "medians": medians,
            "best peer": best,
            "ahead of it": ahead,
        }


def _shown(value: float | None) -> str:
    return NOTHING if value is None else short(value)


def _markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *("---:" for _ in head[1:])]
    return [f"| {' | '.join(line)} |" for line in (head, rule, *lines)]
