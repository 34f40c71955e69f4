"""Write reports: over each other on a terminal, below each other anywhere else."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from rich.console import Console
from rich.text import Text

#: To the top left corner of the terminal, everything erased.
_CLEAR = "\x1b[H\x1b[2J"
_UP = "\x1b[{}A\r"
_ERASE_LINE = "\x1b[K"
_ERASE_BELOW = "\x1b[J"


class Terminal:
    """Write lines to `out`.

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
        self._has_width = out.isatty()
        #: One that can be drawn over.
        self._is_terminal = self._has_width and environment.get("TERM") != "dumb"
        colours = self._is_terminal and not environment.get("NO_COLOR")
        # Without a colour system it writes no bold either, as NO_COLOR has always meant here.
        self._console = Console(
            file=out, force_terminal=True, color_system="standard" if colours else None
        )
        self._drawn: tuple[int, tuple[int, int]] | None = None

    @property
    def width(self) -> int | None:
        """Columns of the terminal; None where nothing limits them."""
        return self._size()[0] if self._has_width else None

    @property
    def height(self) -> int | None:
        """Lines that a redrawn report may have; None where nothing can be drawn over."""
        # One less: the cursor waits below the report.
        return self._size()[1] - 1 if self._is_terminal else None

    def print(self, lines: Sequence[Text]) -> None:
        """Write a report once."""
        self._write("".join(f"{text}\n" for text in self._painted(lines)))

    def redraw(self, lines: Sequence[Text]) -> None:
        """Write a report over the last one; not on a terminal: below it."""
        if not self._is_terminal:
            self.print([*lines, Text()])
            return
        size = self._size()
        lines = lines[: max(1, size[1] - 1)]
        body = "".join(f"{text}{_ERASE_LINE}\n" for text in self._painted(lines))
        # In one write, so that it does not flicker. A terminal that changed its size has wrapped
        # the last report in its own way: nobody knows where that began.
        before = ""
        if self._drawn is not None:
            drawn, drawn_at = self._drawn
            before = _UP.format(drawn) if drawn_at == size else _CLEAR
        self._write(before + body + _ERASE_BELOW)
        self._drawn = len(lines), size

    def write_line(self, text: str) -> None:
        """Write a line below the last report."""
        self._write(text + "\n")

    def _painted(self, lines: Sequence[Text]) -> list[str]:
        with self._console.capture() as captured:
            for line in lines:
                self._console.print(line, soft_wrap=True)
        return [line.rstrip() for line in captured.get().split("\n")[:-1]]

    def _write(self, text: str) -> None:
        encoding = self._out.encoding or "utf-8"
        self._out.write(text.encode(encoding, "backslashreplace").decode(encoding))
        self._out.flush()
