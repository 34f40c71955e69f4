"""Text for terminals: pieces with styles, lines that fit, tables that give up columns (pure).

What comes from outside (keys, names, errors) may hold anything; it is shown with its control
characters spelled out, so that no task can draw on the terminal of whoever looks at it.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
_GAP = "  "
_CUT = "..."


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text in one style: bold, dim, red, green, yellow, or none."""

    text: str
    style: str = ""

    @property
    def width(self) -> int:
        """The columns that it takes."""
        return sum(map(_columns, self.text))


Line = tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Arguments:
        title: above it.
        cells: one for each row.
        rank: what is given up first where there is no room has the lowest; None: never given up.
        left: whether its texts begin, rather than end, below each other.
    """

    title: str
    cells: Sequence[Piece]
    rank: int | None = None
    left: bool = False

    @property
    def width(self) -> int:
        """Of its widest text."""
        return max(Piece(self.title).width, *(cell.width for cell in self.cells), 0)


def cut(line: Iterable[Piece], width: int | None) -> Line:
    """The line, in at most `width` columns; what is cut off shows."""
    pieces = tuple(line)
    if width is None or sum(piece.width for piece in pieces) <= width:
        return pieces
    room = max(0, width - len(_CUT))
    kept: list[Piece] = []
    for piece in pieces:
        short = _shortened(piece, room)
        kept.append(short)
        room -= short.width
        if short.text != piece.text:
            break
    return (*kept, Piece(_CUT[:width]))


def table(columns: Sequence[Column], width: int | None) -> tuple[list[Line], list[str]]:
    """The lines of a table with its titles on top, and the titles that there was no room for."""
    kept = list(columns)
    for column in sorted((each for each in columns if each.rank is not None), key=_rank):
        if width is None or _table_width(kept) <= width:
            break
        kept.remove(column)
    titles = tuple(Piece(each.title, "dim") for each in kept)
    rows = zip(*(each.cells for each in kept), strict=True)
    lines = [cut(_row(kept, cells), width) for cells in (titles, *rows)]
    return lines, [each.title for each in columns if each not in kept]


def paint(line: Iterable[Piece], *, colours: bool) -> str:
    """The line as it is written."""
    return "".join(
        f"\x1b[{_STYLES[piece.style]}m{piece.text}\x1b[0m"
        if colours and piece.style
        else piece.text
        for piece in line
    ).rstrip()


def _rank(column: Column) -> int:
    return column.rank or 0


def _table_width(columns: Sequence[Column]) -> int:
    return sum(each.width for each in columns) + len(_GAP) * (len(columns) - 1)


def _row(columns: Sequence[Column], cells: Iterable[Piece]) -> Line:
    pieces: list[Piece] = []
    for column, cell in zip(columns, cells, strict=True):
        padding = Piece(" " * (column.width - cell.width))
        gap = [Piece(_GAP)] if pieces else []
        pieces += [*gap, cell, padding] if column.left else [*gap, padding, cell]
    return tuple(pieces)


def _shortened(piece: Piece, width: int) -> Piece:
    kept = ""
    for character in piece.text:
        width -= _columns(character)
        if width < 0:
            break
        kept += character
    return Piece(kept, piece.style)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
