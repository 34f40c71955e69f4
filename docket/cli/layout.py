"""The layout of a table for a terminal: what is shortened, and what is left out (pure).

A text wraps between its words, a name is shortened in its middle. Where that is not enough, columns
are left out, in the order that the table gives; those without content go before all others.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

#: Least width of a column of names that are shortened.
LEAST_NAME = 12
#: Longest word that a column of texts is widened for; a longer one is broken.
LONGEST_WORD = 16
#: The frame beside each column, its margins included, and that at the end of a line.
_FRAME, _LAST_FRAME = 3, 1


@dataclass(frozen=True)
class Column:
    """A column of a table.

    heading: its heading, which wraps between its words.
    lines: all lines of all of its cells.
    is_names: shorten them in their middle rather than wrap them.
    """

    heading: str
    lines: Sequence[str]
    is_names: bool = False

    @property
    def natural(self) -> int:
        """The width at which nothing wraps and nothing is shortened."""
        return max(map(cell_len, (self.heading, *self.lines)))

    @property
    def least(self) -> int:
        """The width below which it cannot be read."""
        heading = _longest_word(self.heading)
        longest = max(map(cell_len, self.lines), default=0)
        if self.is_names:
            return max(heading, min(longest, LEAST_NAME))
        words = max(map(_longest_word, self.lines), default=0)
        return max(heading, min(words, LONGEST_WORD))

    @property
    def is_empty(self) -> bool:
        """Return whether no cell has content."""
        return not any(self.lines)


def fit(columns: Sequence[Column], expendable: Sequence[str], width: int) -> dict[str, int]:
    """Return the widths of the columns that a terminal has room for, by heading.

    Args:
        columns: all of them.
        expendable: the headings of those that may be left out, the first to go first.
        width: that of the terminal, in its columns.
    """
    kept = {each.heading: each for each in columns}
    empty = [name for name in expendable if kept[name].is_empty]
    for name in (*empty, *(name for name in expendable if name not in empty)):
        if _least(kept.values()) <= width:
            break
        del kept[name]
    widths = {name: each.least for name, each in kept.items()}
    spare = width - _least(kept.values())
    while spare > 0:
        narrow = [name for name, each in kept.items() if widths[name] < each.natural]
        if not narrow:
            break
        widths[min(narrow, key=widths.__getitem__)] += 1
        spare -= 1
    return widths


def _least(columns: Iterable[Column]) -> int:
    """Return the least width of a table of these columns."""
    return sum(each.least + _FRAME for each in columns) + _LAST_FRAME


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)
