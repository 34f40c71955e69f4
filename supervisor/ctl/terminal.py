"""Where pictures of a pool go: over each other on a terminal, below each other anywhere else."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from supervisor.ctl.table import Line, paint

#: To the top left corner of the terminal, everything erased.
_CLEAR = "\x1b[H\x1b[2J"
_UP = "\x1b[{}A\r"
_ERASE_LINE = "\x1b[K"
_ERASE_BELOW = "\x1b[J"


class Terminal:
    """Writes lines to `out`.

    Arguments:
        out: usually stdout.
        environment: NO_COLOR and TERM=dumb are obeyed.
        size: columns and lines of the terminal.
    """

    def __init__(
        self,
        out: TextIO,
        environment: Mapping[str, str] = os.environ,
        size: Callable[[], tuple[int, int]] = shutil.get_terminal_size,
    ) -> None:
        self._out = out
        self._size = size
        self._is_terminal = out.isatty() and environment.get("TERM") != "dumb"
        self._colours = self._is_terminal and not environment.get("NO_COLOR")
        self._drawn: tuple[int, tuple[int, int]] | None = None

    @property
    def width(self) -> int | None:
        """Columns of the terminal; None where nothing limits them."""
        return self._size()[0] if self._is_terminal else None

    @property
    def height(self) -> int | None:
        """Lines that a picture drawn over the last one may have; None where there is no over."""
        # One less: the cursor waits below the picture.
        return self._size()[1] - 1 if self._is_terminal else None

    def print(self, lines: Sequence[Line]) -> None:
        """Write a picture once."""
        self._write("".join(f"{text}\n" for text in self._painted(lines)))

    def redraw(self, lines: Sequence[Line]) -> None:
        """Write a picture in the place of the last one; not on a terminal: below it."""
        if not self._is_terminal:
            self.print([*lines, ()])
            return
        size = self._size()
        lines = lines[: max(1, size[1] - 1)]
        body = "".join(f"{text}{_ERASE_LINE}\n" for text in self._painted(lines))
        # In one write, so that it does not flicker. A terminal that changed its size has wrapped
        # the last picture in its own way: nobody knows where that began.
        before = ""
        if self._drawn is not None:
            drawn, drawn_at = self._drawn
            before = _UP.format(drawn) if drawn_at == size else _CLEAR
        self._write(before + body + _ERASE_BELOW)
        self._drawn = len(lines), size

    def say(self, text: str) -> None:
        """A line below whatever was drawn."""
        self._write(text + "\n")

    def _painted(self, lines: Sequence[Line]) -> list[str]:
        return [paint(line, colours=self._colours) for line in lines]

    def _write(self, text: str) -> None:
        encoding = self._out.encoding or "utf-8"
        self._out.write(text.encode(encoding, "backslashreplace").decode(encoding))
        self._out.flush()
