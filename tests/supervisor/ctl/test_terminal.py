"""Reports over each other on a terminal, below each other elsewhere."""

import io

import pytest
from rich.text import Text

from supervisor.ctl.terminal import Terminal

GREEN = Text("ready", "green")
PLAIN = Text("two")


class FakeTerminal(io.StringIO):
    """A stream that says it is a terminal, of a size that may change."""

    columns, lines = 80, 24
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def size(self) -> tuple[int, int]:
        return self.columns, self.lines


@pytest.fixture
def terminal() -> FakeTerminal:
    return FakeTerminal()


def on(terminal: FakeTerminal, **environment: str) -> Terminal:
    return Terminal(terminal, {"TERM": "xterm"} | environment, terminal.size)


def test_on_a_terminal_there_are_colours_and_a_size(terminal: FakeTerminal) -> None:
    screen = on(terminal)
    screen.print([GREEN])
    assert terminal.getvalue() == "\x1b[32mready\x1b[0m\n"
    assert (screen.width, screen.height) == (80, 23)


def test_in_a_file_there_are_neither() -> None:
    file = io.StringIO()
    screen = Terminal(file, {"TERM": "xterm"}, lambda: (80, 24))
    screen.print([GREEN])
    assert file.getvalue() == "ready\n"
    assert (screen.width, screen.height) == (None, None)


def test_a_styled_line_has_its_codes_around_its_text_only(terminal: FakeTerminal) -> None:
    line = Text.assemble(("dead", "red"), " ", ("ten", "bold"), "  ")
    on(terminal).print([line])
    assert terminal.getvalue() == "\x1b[31mdead\x1b[0m \x1b[1mten\x1b[0m\n"


def test_a_line_wider_than_its_terminal_is_left_to_the_terminal(terminal: FakeTerminal) -> None:
    on(terminal).print([Text("x" * 200), Text("[bold]:bell: 1.5 'a'")])
    assert terminal.getvalue() == "x" * 200 + "\n[bold]:bell: 1.5 'a'\n"


@pytest.mark.parametrize("value", ["1", "yes"])
def test_no_color_is_obeyed(terminal: FakeTerminal, value: str) -> None:
    on(terminal, NO_COLOR=value).print([GREEN, Text("ten", "bold")])
    assert terminal.getvalue() == "ready\nten\n"


def test_an_empty_no_color_changes_nothing(terminal: FakeTerminal) -> None:
    on(terminal, NO_COLOR="").print([GREEN])
    assert "\x1b[32m" in terminal.getvalue()


def test_a_dumb_terminal_is_written_to_like_a_file_and_has_a_width(terminal: FakeTerminal) -> None:
    screen = on(terminal, TERM="dumb")
    screen.redraw([GREEN])
    screen.redraw([PLAIN])
    assert terminal.getvalue() == "ready\n\ntwo\n\n"
    assert (screen.width, screen.height) == (80, None)


def test_a_report_is_drawn_over_the_last_one(terminal: FakeTerminal) -> None:
    screen = on(terminal)
    screen.redraw([PLAIN, PLAIN])
    assert terminal.getvalue() == "two\x1b[K\ntwo\x1b[K\n\x1b[J"
    terminal.truncate(0)
    terminal.seek(0)
    screen.redraw([PLAIN])
    assert terminal.getvalue() == "\x1b[2A\rtwo\x1b[K\n\x1b[J"
    terminal.truncate(0)
    terminal.seek(0)
    screen.redraw([PLAIN])
    assert terminal.getvalue() == "\x1b[1A\rtwo\x1b[K\n\x1b[J"


def test_after_a_change_of_its_size_the_terminal_is_cleared(terminal: FakeTerminal) -> None:
    screen = on(terminal)
    screen.redraw([PLAIN])
    terminal.columns = 40
    terminal.truncate(0)
    terminal.seek(0)
    screen.redraw([PLAIN])
    assert terminal.getvalue() == "\x1b[H\x1b[2Jtwo\x1b[K\n\x1b[J"


def test_a_report_that_is_too_high_is_drawn_as_far_as_it_fits(terminal: FakeTerminal) -> None:
    screen = on(terminal)
    terminal.lines = 4
    screen.redraw([PLAIN] * 9)
    assert terminal.getvalue().count("two") == 3
    terminal.lines = 0
    screen.redraw([PLAIN] * 9)
    assert terminal.getvalue().count("two") == 3 + 1


def test_characters_missing_in_the_encoding_of_a_stream_are_escaped() -> None:
    bytes_ = io.BytesIO()
    file = io.TextIOWrapper(bytes_, encoding="ascii")
    Terminal(file, {}, lambda: (80, 24)).write_line("größe")
    assert bytes_.getvalue() == b"gr\\xf6\\xdfe\n"
