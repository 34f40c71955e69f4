"""Lines that fit a terminal, and tables that give up columns (pure).

Keys, names and errors may hold anything: `printable.on_one_line` spells their control characters
out before they come here, so that no task can draw on an operator's terminal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

_GAP = "  "
_CUT = "..."


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Arguments:
        title: above it.
        cells: one for each row.
        rank: where there is no room the column with the lowest rank goes first; None: never.
        left: align the texts to the left rather than to the right.
    """

    title: str
    cells: Sequence[Text]
    rank: int | None = None
    left: bool = False

    @property
    def width(self) -> int:
        """Terminal columns of its widest text."""
        return max(each.cell_len for each in (Text(self.title), *self.cells))


def cut(line: Text, width: int | None) -> Text:
    """Shorten the line to at most `width` columns, with dots where something is missing."""
    if width is not None and line.cell_len > width:
        line.truncate(max(0, width - len(_CUT)))
        line.append(_CUT[:width])
    return line


def table(columns: Sequence[Column], width: int | None) -> tuple[list[Text], list[str]]:
    """The lines of a table with its titles on top, and the titles of the columns left out."""
    kept = list(columns)
    ranked = [(each.rank, each) for each in columns if each.rank is not None]
    for _, column in sorted(ranked, key=lambda pair: pair[0]):
        if width is None or sum(each.width + len(_GAP) for each in kept) - len(_GAP) <= width:
            break
        kept.remove(column)
    widths = [each.width for each in kept]
    rows = zip(*([Text(each.title, "dim"), *each.cells] for each in kept), strict=True)
    lines = [cut(Text(_GAP).join(map(_aligned, kept, widths, row)), width) for row in rows]
    return lines, [each.title for each in columns if each not in kept]


def _aligned(column: Column, width: int, cell: Text) -> Text:
    padding = " " * (width - cell.cell_len)
    return Text.assemble(*((cell, padding) if column.left else (padding, cell)))
