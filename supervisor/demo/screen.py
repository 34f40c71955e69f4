"""What a person sees of the demo: a live bar on a terminal, plain lines elsewhere, then the table.

Lines go to stdout. When its reader goes away (`| head`) the run is told, and the rest is quiet.
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

#: Of the table, where nobody tells how wide the output may be; it needs less.
PLAIN_WIDTH = 80
#: Longest line there: nothing wraps it, but an error may be as long as a source line.
PLAIN_LINE = 200
#: Plain progress lines of one run, besides the last.
PLAIN_STEPS = 10
#: Failed files that are listed; of a larger number the rest is counted.
LISTED = 20

Rows = Iterable[tuple[str, str]]


class Screen:
    """Plain lines: for pipes, files, and terminals that cannot move their cursor.

    Arguments:
        out: where to; usually stdout.
        reader_gone: called once when nobody reads `out` any more.
    """

    def __init__(self, out: TextIO, reader_gone: Callable[[], None]) -> None:
        self._out = out
        self._reader_gone = reader_gone
        self._is_gone = False
        self._told_steps = 0

    @property
    def width(self) -> int:
        """Most characters that a line should have."""
        return PLAIN_LINE

    def say(self, line: str = "") -> None:
        """One line."""
        self._write(line + "\n")

    @contextmanager
    def progress(self, total: int) -> Generator[Callable[[int, float], None]]:
        """Show how far it is; call the yielded function with (finished files, seconds so far)."""

        def advanced(finished: int, seconds: float) -> None:
            step = finished * PLAIN_STEPS // total
            if step > self._told_steps:
                self._told_steps = step
                self.say(f"  {finished:>{len(f'{total:,}')},} of {total:,} files, {seconds:5.1f} s")

        yield advanced

    def table(self, rows: Rows) -> None:
        """The table at the end, without a terminal's colours."""
        drawn = io.StringIO()
        Console(file=drawn, width=PLAIN_WIDTH, no_color=True, force_terminal=False).print(
            _table(rows, box.ASCII)
        )
        self._write(drawn.getvalue())

    def _write(self, text: str) -> None:
        if self._is_gone:
            return
        encoding = self._out.encoding or "utf-8"
        try:
            self._out.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self._out.flush()
        except BrokenPipeError:
            self._is_gone = True
            # What Python flushes at its end must find a reader, or it complains on stderr.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._out.fileno())
            os.close(nowhere)
            self._reader_gone()


class LiveScreen(Screen):
    """A terminal: the bar stays below the lines, with colours as far as the terminal has them."""

    def __init__(self, out: TextIO, console: Console, reader_gone: Callable[[], None]) -> None:
        super().__init__(out, reader_gone)
        self._console = console

    @property
    def width(self) -> int:
        """As the terminal is now."""
        return self._console.width

    def say(self, line: str = "") -> None:
        """One line, above the bar."""
        encoding = self._console.encoding
        line = line.encode(encoding, "backslashreplace").decode(encoding)
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def progress(self, total: int) -> Generator[Callable[[int, float], None]]:
        """A bar with the rate and the time that is left."""
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

    def table(self, rows: Rows) -> None:
        """The table at the end."""
        self._console.print(_table(rows, box.ROUNDED))


def _table(rows: Rows, frame: box.Box) -> Table:
    table = Table(box=frame, show_header=False, highlight=False)
    table.add_column("what", style="bold")
    table.add_column("value", justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def open_screen(reader_gone: Callable[[], None], out: TextIO | None = None) -> Screen:
    """The screen that suits `out`, stdout by default."""
    # Without a stdout (`>&-`) Python has none either; the exit code still tells.
    target = out or sys.stdout or io.StringIO()
    console = Console(file=target, highlight=False)
    # TERM=dumb, an editor's shell: nothing there can be drawn over.
    if target.isatty() and not console.is_dumb_terminal:
        return LiveScreen(target, console, reader_gone)
    return Screen(target, reader_gone)


class ScreenHandler(logging.Handler):
    """Log lines on the screen, where they do not tear the bar."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """One record, without time and place: a person looks on."""
        self._screen.say(self.format(record))


@contextmanager
def logging_to(screen: Screen) -> Generator[None]:
    """Have what the runtime warns of on the screen, and nothing less; all as before after it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = [ScreenHandler(screen)]
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
