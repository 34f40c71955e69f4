"""What the program logs."""

import json
import logging
from collections.abc import Iterator

import pytest

from docket.cli import logs


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


def test_plain_lines_have_time_level_logger_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", None)

    logging.getLogger("docket.worker").info("one of %d", 2)
    logging.getLogger("docket.worker").debug("not shown")

    line = capsys.readouterr().err
    assert line.endswith(" INFO docket.worker: one of 2\n")
    assert line.count("\n") == 1


def test_json_lines_hold_what_the_caller_added_and_the_exception(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("INFO", "json")

    try:
        raise ValueError("a cause")
    except ValueError:
        logging.getLogger("docket.task.f").exception("it failed", extra={"key": "k", "odd": {1}})

    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["logger"], line["message"]) == (
        "ERROR",
        "docket.task.f",
        "it failed",
    )
    assert (line["key"], line["odd"]) == ("k", "{1}")
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: a cause")


def test_json_lines_of_ordinary_records_hold_nothing_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("INFO", "json")

    logging.getLogger("x").info("y")

    assert json.loads(capsys.readouterr().err).keys() == {
        "time",
        "level",
        "logger",
        "pid",
        "message",
    }


def test_rich_lines_hold_the_message(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("INFO", "rich")

    logging.getLogger("docket.worker").info("[len 2] is no markup")

    assert "[len 2] is no markup" in capsys.readouterr().err
