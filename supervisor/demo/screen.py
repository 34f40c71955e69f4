"""The output of the demo: a live bar on a terminal, plain lines elsewhere, then the table.

It goes to stdout. When its reader goes away (`| head`) the demo is told, and the rest is dropped.
"""

import io
import logging
import os
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import TextIO

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

#: Width of the table where nothing says how wide the output may be; it needs less.
PLAIN_WIDTH = 80
#: Longest line there: nothing wraps it, but an error may be as long as a source line.
PLAIN_LINE = 200
#: Plain progress lines of one run.
PLAIN_STEPS = 10

#: Shows the number of finished files after so many seconds.
Advanced = Callable[[int, float], None]


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to `Screen`, instead of ending the program."""
        raise BrokenPipeError


class Screen:
    """Write to a terminal with rich's means, or plainly to pipes, files and dumb terminals.

    Arguments:
        reader_gone: called once when nobody reads the output any more.
        out: stdout by default.
    """

    def __init__(self, reader_gone: Callable[[], None], out: TextIO | None = None) -> None:
        # Without a stdout (`>&-`) Python has none either; the exit code is still there.
        self._out = out or sys.stdout or io.StringIO()
        self._reader_gone = reader_gone
        self._console = _Console(file=self._out, highlight=False, emoji=False)
        # TERM=dumb, an editor's shell: nothing there can be drawn over.
        self.is_live = self._out.isatty() and not self._console.is_dumb_terminal
        if not self.is_live:
            self._console = _Console(
                file=self._out,
                width=PLAIN_WIDTH,
                force_terminal=False,
                no_color=True,
                highlight=False,
                emoji=False,
            )

    @property
    def line_width(self) -> int:
        """Most characters that a line should have."""
        return self._console.width if self.is_live else PLAIN_LINE

    def write_line(self, line: str = "") -> None:
        """Write one line, above the bar if there is one; a terminal wraps it between words."""
        encoding = self._console.encoding
        line = line.encode(encoding, "backslashreplace").decode(encoding)
        self._print(line, soft_wrap=not self.is_live)

    @contextmanager
    def progress(self, total: int) -> Generator[Advanced]:
        """Show the progress of `total` files, as the yielded function reports it."""
        if not self.is_live:
            yield self._plain_progress(total)
            return
        columns = (
            TextColumn("parsing"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]} files/s"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, expand=True) as bar:
            shown = bar.add_task("parsing", total=total, rate="-")

            def advanced(finished: int, seconds: float) -> None:
                rate = f"{finished / seconds:.0f}" if seconds > 0 else "-"
                bar.update(shown, completed=finished, rate=rate)

            yield advanced

    def table(self, rows: Iterable[tuple[str, str]]) -> None:
        """Write the table at the end."""
        frame = box.ROUNDED if self.is_live else box.ASCII
        table = Table(box=frame, show_header=False, highlight=False)
        table.add_column(style="bold")
        table.add_column(justify="right")
        for row in rows:
            table.add_row(*row)
        self._print(table)

    def _plain_progress(self, total: int) -> Advanced:
        step = 0

        def advanced(finished: int, seconds: float) -> None:
            nonlocal step
            if finished * PLAIN_STEPS // total > step:
                step = finished * PLAIN_STEPS // total
                count = f"{finished:>{len(f'{total:,}')},} of {total:,} files"
                self.write_line(f"  {count}, {seconds:5.1f} s")

        return advanced

    def _print(self, output: str | Table, *, soft_wrap: bool = False) -> None:
        try:
            self._console.print(output, markup=False, soft_wrap=soft_wrap)
        except BrokenPipeError:
            self._console.quiet = True
            # What Python flushes at its end must find a reader, or it complains on stderr.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._out.fileno())
            os.close(nowhere)
            self._reader_gone()


class _ScreenHandler(logging.Handler):
    """Write log lines to the screen, where they do not tear the bar."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """Write the message alone, without its time and logger: it is read as it comes."""
        self._screen.write_line(self.format(record))


@contextmanager
def logging_to(screen: Screen) -> Generator[None]:
    """Log warnings to the screen, and nothing else anywhere, for as long as the block runs."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = [_ScreenHandler(screen)]
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
