"""Lines name their process and its task, and a JSON line is one line."""

import json
import logging
import os
import pty
import sys
import termios

import pytest

from docket_display.printable import on_one_line
from supervisor.logs.formats import (
    KEY_SHOWN,
    JsonFormatter,
    LogContext,
    PlainFormatter,
    RichFormatter,
    formatter,
    is_json_object,
    line_of,
)
from supervisor.text import truncation

SUPERVISOR = LogContext()
NURSERY = LogContext("nursery")
WORKER = LogContext("worker 3", 3)
IN_TASK = LogContext("worker 3", 3, lambda: ("order-17", "ship"))


def record(message: str = "hello %s", *, error: bool = False, **extra: object) -> logging.LogRecord:
    exc_info = None
    if error:
        try:
            raise ValueError("wrong\nin two lines")
        except ValueError:
            exc_info = sys.exc_info()
    args = ("you",) if "%s" in message else ()
    made = logging.LogRecord("docket.worker", logging.INFO, "f", 1, message, args, exc_info)
    vars(made).update(extra)
    return made


@pytest.mark.parametrize(
    ("log_context", "ending"),
    [
        (SUPERVISOR, " INFO docket.worker: hello you"),
        (NURSERY, " INFO [nursery] docket.worker: hello you"),
        (WORKER, " INFO [worker 3] docket.worker: hello you"),
        (IN_TASK, " INFO [worker 3 order-17] docket.worker: hello you"),
    ],
)
def test_a_plain_line_names_its_process_and_its_task(log_context: LogContext, ending: str) -> None:
    line = PlainFormatter(log_context).format(record())
    assert line.endswith(ending)
    assert line[4] == line[7] == "-"
    assert line[19] == "."


def test_a_plain_line_is_followed_by_its_traceback_and_its_stack() -> None:
    lines = PlainFormatter(WORKER).format(record(error=True, stack_info="Stack:\n  here"))
    assert "\nTraceback" in lines
    assert lines.endswith("  here")


def test_a_key_of_several_lines_stays_on_the_line_and_a_long_one_is_cut() -> None:
    log_context = LogContext("worker 1", 1, lambda: ("two\nlines", "f"))
    assert "[worker 1 two lines]" in PlainFormatter(log_context).format(record())
    log_context = LogContext("worker 1", 1, lambda: ("\x1b[2Jred\x9b31m\u202e", "f"))
    assert r"[worker 1 \x1b[2Jred\x9b31m\u202e]" in PlainFormatter(log_context).format(record())
    log_context = LogContext("worker 1", 1, lambda: ("k" * 1000, "f"))
    assert f"[worker 1 {'k' * KEY_SHOWN}]" in PlainFormatter(log_context).format(record())
    assert json.loads(JsonFormatter(log_context).format(record()))["task"] == "k" * 1000


def test_a_json_line_is_one_object_with_the_fields_that_are_known() -> None:
    line = JsonFormatter(IN_TASK).format(record(error=True))
    assert "\n" not in line
    fields = json.loads(line)
    assert list(fields) == [
        *("time", "level", "logger", "pid", "worker", "task", "function", "message", "exception")
    ]
    assert (fields["level"], fields["logger"], fields["message"]) == (
        "INFO",
        "docket.worker",
        "hello you",
    )
    assert (fields["worker"], fields["task"], fields["function"]) == (3, "order-17", "ship")
    assert fields["exception"].endswith("ValueError: wrong\nin two lines")
    assert fields["time"].endswith("+00:00")


def test_a_json_line_leaves_out_unknown_fields() -> None:
    fields = json.loads(JsonFormatter(SUPERVISOR).format(record()))
    assert set(fields) == {"time", "level", "logger", "pid", "message"}
    assert set(json.loads(JsonFormatter(WORKER).format(record()))) - set(fields) == {"worker"}


def test_a_json_line_has_the_extras_of_the_caller_and_keeps_our_fields() -> None:
    given = {"order": 17, "worker": "host#3", "task": "ship", "key": "order-17", "message_id": None}
    fields = json.loads(JsonFormatter(IN_TASK).format(record(**given)))
    assert (fields["order"], fields["key"], fields["message_id"]) == (17, "order-17", None)
    assert (fields["worker"], fields["task"]) == (3, "order-17")


def test_values_that_json_does_not_have_are_written_as_text() -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    line = JsonFormatter(WORKER).format(
        record(cycle=cycle, pair={(1, 2): 3}, nan=float("nan"), kind=int)
    )
    fields = json.loads(line, parse_constant=lambda constant: pytest.fail(f"{constant} in JSON"))
    assert fields["cycle"] == "[[...]]"
    assert fields["pair"] == "{(1, 2): 3}"
    assert fields["nan"] == "nan"
    assert fields["kind"] == "<class 'int'>"


def test_a_traceback_that_is_text_already_and_a_stack_are_in_the_json() -> None:
    fields = json.loads(
        JsonFormatter(WORKER).format(record(exc_text="Traceback: x", stack_info="Stack: y"))
    )
    assert (fields["exception"], fields["stack"]) == ("Traceback: x", "Stack: y")


def test_a_rich_line_is_coloured_and_has_its_traceback_and_its_stack() -> None:
    colored = {"TERM": "xterm"}
    assert "\x1b[34m INFO" in RichFormatter(SUPERVISOR, None, colored).format(record())
    line = RichFormatter(IN_TASK, None, colored).format(record())
    logger = "\x1b[2m docket.worker:\x1b[0m"
    assert line.endswith(f"\x1b[36m [worker 3 order-17]\x1b[0m{logger} hello you")
    lines = RichFormatter(WORKER).format(record(error=True, stack_info="Stack: y"))
    assert "ValueError: wrong" in lines
    assert lines.endswith("Stack: y")


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_a_rich_line_has_no_colours_where_they_are_not_wanted(environment: dict[str, str]) -> None:
    line = RichFormatter(IN_TASK, None, environment).format(record())
    assert line[8:] == " INFO     [worker 3 order-17] docket.worker: hello you"


@pytest.mark.parametrize("key", ["order-17", "k" * (KEY_SHOWN + 9), "two lines", "\x1b[2J"])
def test_a_rich_line_that_names_its_task_itself_has_the_key_once(key: str) -> None:
    log_context = LogContext("worker 3", 3, lambda: (key, "ship"))
    shown = on_one_line(key)
    line = RichFormatter(log_context, None, {}).format(record(f"ship(...){{{shown}}}"))
    assert "[worker 3]" in line
    assert line.count(shown) == 1
    assert "[worker 3 " in RichFormatter(log_context, None, {}).format(record("of its own"))


@pytest.mark.parametrize("columns", [120, 80, 50])
def test_a_rich_line_wraps_between_words_at_the_width_of_its_terminal(columns: int) -> None:
    key = "reminder:" + "0" * 60
    message = f"sending {key} to a customer who was told twice already, and did not answer"
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, columns))
    try:
        text = RichFormatter(WORKER, slave, {"NO_COLOR": "1"}).format(record(message, error=True))
    finally:
        os.close(master)
        os.close(slave)
    first, *rest = text.splitlines()
    assert f" INFO     [worker 3] docket.worker: {message}".split() == [
        *first[8:].split(),
        *" ".join(line for line in rest if line.startswith(" " * 9)).split(),
    ]
    assert all(len(line) <= columns or len(line.split()) == 1 for line in (first, *rest))
    assert "Traceback (most recent call last):" in rest


@pytest.mark.parametrize(
    ("name", "kind"), [("json", JsonFormatter), ("plain", PlainFormatter), ("rich", RichFormatter)]
)
def test_a_line_is_bounded_whatever_its_record_holds(name: str, kind: type) -> None:
    huge = "x" * 2_000_000
    log_context = LogContext("worker 1", 1, lambda: (huge, huge))
    made = [
        record(f"begin {huge} end"),
        record("m", stack_info=huge),
        record("m", exc_text=huge),
        record("m", text=huge, several=[huge], odd={huge: {1}}),
    ]
    for error in (ValueError(huge), ExceptionGroup(huge, [ValueError(huge)])):
        made.append(record("m"))
        made[-1].exc_info = (type(error), error, None)

    for each in made:
        line = formatter(name, log_context).format(each)
        assert len(line) <= 4 * truncation.RECORD
        if kind is JsonFormatter:
            assert max(len(str(value)) for value in json.loads(line).values()) <= truncation.RECORD
    assert " end" in formatter(name, log_context).format(made[0])


@pytest.mark.parametrize(
    ("name", "kind"), [("json", JsonFormatter), ("plain", PlainFormatter), ("rich", RichFormatter)]
)
def test_each_format_has_its_formatter(name: str, kind: type) -> None:
    assert type(formatter(name, SUPERVISOR)) is kind


def test_a_line_without_a_logger_is_like_the_others() -> None:
    fields = json.loads(line_of(JsonFormatter(WORKER), "stderr", logging.WARNING, "100%s"))
    assert (fields["level"], fields["logger"], fields["message"]) == ("WARNING", "stderr", "100%s")


@pytest.mark.parametrize(
    ("text", "is_json"),
    [
        ('{"a": 1}', True),
        ("{a}", False),
        ("[1]", False),
        ('{"a": 1} x', False),
        pytest.param('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", False, id="nested too deeply"),
    ],
)
def test_a_line_that_is_json_already_is_recognized(text: str, is_json: bool) -> None:
    assert is_json_object(text) is is_json


@pytest.mark.statement(19)
def test_json_carries_the_attributes_of_a_run_beside_the_fields_of_the_pool() -> None:
    attributes = {"docket.key": "order-17", "docket.worker": "host#3", "duration": 0.5}
    line = json.loads(JsonFormatter(IN_TASK).format(record(**attributes)))
    assert {name: line[name] for name in attributes} == attributes
    assert (line["worker"], line["task"], line["function"]) == (3, "order-17", "ship")


class Broken:
    """It cannot be shown."""

    def __repr__(self) -> str:
        raise LookupError("\x1b]0;owned\x07")


@pytest.mark.parametrize("odd", [Broken(), [Broken()], 10**5000], ids=["one", "inside", "int"])
def test_a_value_that_cannot_be_shown_takes_no_line_with_it(odd: object) -> None:
    fields = json.loads(JsonFormatter(SUPERVISOR).format(record(odd=odd)))
    assert fields["message"] == "hello you"
    assert "without a repr" in fields["odd"]
