import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from supervisor.demo.screen import LiveScreen, Screen, logging_to, open_screen

ROWS = [("files", "1,790"), ("from the kill to the first redelivered start", "38 ms")]
ESCAPE = "\x1b"


def fail() -> None:
    raise AssertionError("nobody has gone")


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _a_common_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def test_a_pipe_gets_plain_lines_even_where_colours_are_forced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = io.StringIO()
    screen = open_screen(fail, out)
    screen.say("[bold]hello[/bold]")
    screen.table(ROWS)
    written = out.getvalue()
    assert not isinstance(screen, LiveScreen)
    assert written.startswith("[bold]hello[/bold]\n")
    assert ESCAPE not in written
    assert written.isascii()
    assert max(map(len, written.splitlines())) <= 80


def test_plain_progress_is_a_line_for_each_tenth() -> None:
    out = io.StringIO()
    with Screen(out, fail).progress(1000) as advanced:
        for finished in range(1, 1001):
            advanced(finished, finished / 100)
    lines = out.getvalue().splitlines()
    assert lines[0] == "    100 of 1,000 files,   1.0 s"
    assert lines[-1] == "  1,000 of 1,000 files,  10.0 s"
    assert len(lines) == 10


def test_a_terminal_gets_a_bar_and_lines_above_it() -> None:
    out = Terminal()
    screen = open_screen(fail, out)
    with screen.progress(10) as advanced:
        advanced(0, 0.0)
        screen.say("[halfway]: kill -9")
        advanced(10, 2.0)
    screen.table(ROWS)
    written = out.getvalue()
    assert isinstance(screen, LiveScreen)
    assert ESCAPE in written
    assert "[halfway]: kill -9" in written
    assert "5 files/s" in written
    assert "10/10" in written
    assert screen.width == 80


def test_a_terminal_that_can_draw_nothing_gets_plain_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert not isinstance(open_screen(fail, Terminal()), LiveScreen)


@pytest.mark.parametrize("terminal", [False, True])
def test_what_the_encoding_has_no_character_for_is_escaped(*, terminal: bool) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, "ascii") as out:
        console = Console(file=out, force_terminal=True)
        screen = LiveScreen(out, console, fail) if terminal else Screen(out, fail)
        screen.say("wörter")
        screen.table(ROWS)
        out.flush()
        assert raw.getvalue().startswith(b"w\\xf6rter\n")


def test_without_a_stdout_nothing_is_shown_and_nothing_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdout", None)
    open_screen(fail).say("nobody hears this")


@pytest.fixture
def broken_pipe() -> Iterator[io.TextIOWrapper]:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as out:
        yield out


def test_a_reader_that_goes_away_is_told_of_once_and_the_rest_is_quiet(
    broken_pipe: io.TextIOWrapper,
) -> None:
    gone: list[bool] = []
    screen = Screen(broken_pipe, lambda: gone.append(True))
    screen.say("one")
    screen.say("two")
    screen.table(ROWS)
    assert gone == [True]
    assert Path(f"/proc/self/fd/{broken_pipe.fileno()}").readlink() == Path(os.devnull)


def test_what_the_runtime_warns_of_is_shown_for_the_time_being() -> None:
    out = io.StringIO()
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    with logging_to(Screen(out, fail)):
        logging.getLogger("supervisor").info("not this")
        logging.getLogger("supervisor").warning("worker %d died", 2)
    assert out.getvalue() == "worker 2 died\n"
    assert (root.handlers, root.level) == before
