import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.demo.screen import Screen, logging_to

ROWS = [("files", "1,790"), ("from the kill to the first redelivered start", "38 ms")]
ESCAPE = "\x1b"


def fail() -> None:
    raise AssertionError("nobody has gone")


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class AsciiTerminal(io.TextIOWrapper):
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
    screen = Screen(fail, out)
    screen.write_line("[bold]hello[/bold] :smile: " + "x" * 90)
    screen.table(ROWS)
    written = out.getvalue()
    assert not screen.is_live
    assert written.startswith("[bold]hello[/bold] :smile: " + "x" * 90 + "\n")
    assert ESCAPE not in written
    assert written.isascii()
    assert max(map(len, written.splitlines()[1:])) <= 80


def test_plain_progress_is_a_line_for_each_tenth() -> None:
    out = io.StringIO()
    with Screen(fail, out).progress(1000) as advanced:
        for finished in range(1, 1001):
            advanced(finished, finished / 100)
    lines = out.getvalue().splitlines()
    assert lines[0] == "    100 of 1,000 files,   1.0 s"
    assert lines[-1] == "  1,000 of 1,000 files,  10.0 s"
    assert len(lines) == 10


def test_a_terminal_gets_a_bar_and_lines_above_it() -> None:
    out = Terminal()
    screen = Screen(fail, out)
    with screen.progress(10) as advanced:
        advanced(0, 0.0)
        screen.write_line("[halfway]: kill -9")
        advanced(10, 2.0)
    screen.table(ROWS)
    written = out.getvalue()
    assert screen.is_live
    assert ESCAPE in written
    assert "[halfway]: kill -9" in written
    assert "5 files/s" in written
    assert "10/10" in written
    assert screen.line_width == 80


def test_a_narrow_terminal_gets_its_lines_wrapped_between_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    out = Terminal()
    Screen(fail, out).write_line("worker 1 (pid 4711) died: killed by SIGKILL; replaced at once")
    assert [line.rstrip() for line in out.getvalue().splitlines()] == [
        "worker 1 (pid 4711) died: killed by SIGKILL;",
        "replaced at once",
    ]


def test_a_dumb_terminal_gets_plain_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert not Screen(fail, Terminal()).is_live


@pytest.mark.parametrize("terminal", [False, True])
def test_characters_missing_in_the_encoding_are_escaped(*, terminal: bool) -> None:
    raw = io.BytesIO()
    with (AsciiTerminal if terminal else io.TextIOWrapper)(raw, "ascii") as out:
        screen = Screen(fail, out)
        assert screen.is_live is terminal
        screen.write_line("wörter")
        screen.table(ROWS)
        out.flush()
        assert raw.getvalue().startswith(b"w\\xf6rter\n")


def test_without_a_stdout_nothing_is_shown_and_nothing_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdout", None)
    Screen(fail).write_line("nobody reads this")


@pytest.fixture
def broken_pipe() -> Iterator[io.TextIOWrapper]:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as out:
        yield out


def test_the_loss_of_the_reader_is_reported_once_and_the_rest_is_dropped(
    broken_pipe: io.TextIOWrapper,
) -> None:
    gone: list[bool] = []
    screen = Screen(lambda: gone.append(True), broken_pipe)
    screen.write_line("one")
    screen.write_line("two")
    screen.table(ROWS)
    assert gone == [True]
    assert Path(f"/proc/self/fd/{broken_pipe.fileno()}").readlink() == Path(os.devnull)


def test_warnings_of_the_runtime_are_shown_while_the_block_runs() -> None:
    out = io.StringIO()
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    with logging_to(Screen(fail, out)):
        logging.getLogger("supervisor").info("not this")
        logging.getLogger("supervisor").warning("worker %d died", 2)
    assert out.getvalue() == "worker 2 died\n"
    assert (root.handlers, root.level) == before
