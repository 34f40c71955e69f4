"""What the program logs."""

import json
import logging
import re
import sys
from collections.abc import Iterator

import pytest

from docket.cli import logs
from docket.log_text import BoundedFormatter


@pytest.fixture(autouse=True)
def root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    # Without them: configure closes the handlers it replaces, and pytest's are among them.
    root.handlers[:] = []
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.mark.statement(10)
def test_plain_lines_have_time_level_logger_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", None)

    log = logging.getLogger("docket.worker")
    log.info("one of %d", 2)
    log.debug("not shown")
    log.error("three", exc_info=ValueError("a cause"))

    lines = capsys.readouterr().out.splitlines()
    shown = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] "
    assert re.fullmatch(shown + r"INFO - docket\.worker - one of 2", lines[0])
    assert re.fullmatch(shown + r"ERROR - docket\.worker - three", lines[1])
    assert lines[2:] == ["ValueError: a cause"]


@pytest.mark.statement(10)
def test_json_lines_hold_what_the_caller_added_and_the_exception(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("INFO", "json")

    try:
        raise ValueError("a cause")
    except ValueError:
        extra = {"docket.key": "k", "odd": {1}}
        logging.getLogger("docket.task.f").exception("it failed", extra=extra)

    line = json.loads(capsys.readouterr().out)
    assert (line["levelname"], line["name"], line["message"]) == (
        "ERROR",
        "docket.task.f",
        "it failed",
    )
    assert (line["docket.key"], line["odd"]) == ("k", "{1}")
    assert line["exc_info"].startswith("Traceback")
    assert line["exc_info"].endswith("ValueError: a cause")


@pytest.mark.statement(10)
def test_json_lines_of_ordinary_records_hold_nothing_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("INFO", "json")

    logging.getLogger("x").info("y")

    captured = capsys.readouterr()
    assert captured.err == ""
    line = json.loads(captured.out)
    assert list(line) == ["name", "asctime", "levelname", "message", "exc_info"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", line["asctime"])
    assert line["exc_info"] is None


class Broken:
    """It cannot be shown."""

    def __repr__(self) -> str:
        raise LookupError("\x1b]0;owned\x07")


@pytest.mark.parametrize("odd", [Broken(), [Broken()], 10**5000], ids=["one", "inside", "int"])
def test_a_value_that_cannot_be_shown_takes_no_line_with_it(
    odd: object, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("INFO", "json")
    logging.getLogger("docket").info("here", extra={"odd": odd})
    written = capsys.readouterr()
    line = json.loads(written.out)
    assert (line["message"], written.err) == ("here", "")
    assert "without a repr" in line["odd"]


@pytest.mark.parametrize("odd", [float("nan"), {(1, 2): 3}])
def test_what_json_has_no_form_for_is_shown_as_its_text(
    capsys: pytest.CaptureFixture[str], odd: object
) -> None:
    logs.configure("INFO", "json")

    logging.getLogger("x").info("y", extra={"odd": odd, "docket.key": "k"})

    line = json.loads(capsys.readouterr().out)
    assert (line["message"], line["odd"]) == ("y", repr(odd))


@pytest.mark.statement(10)
def test_rich_lines_hold_the_message(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("INFO", "rich")

    logging.getLogger("docket.worker").info("[len 2] is no markup")

    assert "[len 2] is no markup" in capsys.readouterr().out


def test_rich_lines_have_the_logger_apart_and_what_is_below(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    logs.configure("INFO", "rich")

    logging.getLogger("docket.worker").error("it failed", exc_info=ValueError("\x1b[2J"))

    first, *below = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d ERROR    docket\.worker: it failed", first)
    assert below == [r"ValueError: \x1b[2J"]


@pytest.mark.statement(10)
@pytest.mark.parametrize(
    ("is_terminal", "kind"), [(True, logs.RichFormatter), (False, BoundedFormatter)]
)
def test_the_format_is_that_of_a_terminal_if_stdout_is_one(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, kind: type
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)

    logs.configure("INFO", None)

    [handler] = logging.getLogger().handlers
    assert type(handler.formatter) is kind
