"""A record becomes a line that says who wrote it, in which task, and stays one line in JSON."""

import json
import logging
import sys

import pytest

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
    ("log_context", "said"),
    [
        (SUPERVISOR, " INFO docket.worker: hello you"),
        (NURSERY, " INFO [nursery] docket.worker: hello you"),
        (WORKER, " INFO [worker 3] docket.worker: hello you"),
        (IN_TASK, " INFO [worker 3 order-17] docket.worker: hello you"),
    ],
)
def test_a_plain_line_says_who_wrote_it_in_which_task(log_context: LogContext, said: str) -> None:
    line = PlainFormatter(log_context).format(record())
    assert line.endswith(said)
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


def test_a_json_line_is_one_object_with_what_is_known() -> None:
    line = JsonFormatter(IN_TASK).format(record(error=True))
    assert "\n" not in line
    told = json.loads(line)
    assert list(told) == [
        *("time", "level", "logger", "pid", "worker", "task", "function", "message", "exception")
    ]
    assert (told["level"], told["logger"], told["message"]) == (
        "INFO",
        "docket.worker",
        "hello you",
    )
    assert (told["worker"], told["task"], told["function"]) == (3, "order-17", "ship")
    assert told["exception"].endswith("ValueError: wrong\nin two lines")
    assert told["time"].endswith("+00:00")


def test_a_json_line_leaves_out_what_is_not_known() -> None:
    told = json.loads(JsonFormatter(SUPERVISOR).format(record()))
    assert set(told) == {"time", "level", "logger", "pid", "message"}
    assert set(json.loads(JsonFormatter(WORKER).format(record()))) - set(told) == {"worker"}


def test_a_json_line_has_what_the_caller_gave_and_keeps_what_we_know() -> None:
    given = {"order": 17, "worker": "host#3", "task": "ship", "key": "order-17", "message_id": None}
    told = json.loads(JsonFormatter(IN_TASK).format(record(**given)))
    assert (told["order"], told["key"], told["message_id"]) == (17, "order-17", None)
    assert (told["worker"], told["task"]) == (3, "order-17")


def test_what_json_cannot_have_is_told_as_text() -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    line = JsonFormatter(WORKER).format(
        record(cycle=cycle, pair={(1, 2): 3}, nan=float("nan"), kind=int)
    )
    told = json.loads(line, parse_constant=lambda constant: pytest.fail(f"{constant} in JSON"))
    assert told["cycle"] == "[[...]]"
    assert told["pair"] == "{(1, 2): 3}"
    assert told["nan"] == "nan"
    assert told["kind"] == "<class 'int'>"


def test_a_traceback_that_is_text_already_and_a_stack_are_in_the_json() -> None:
    told = json.loads(
        JsonFormatter(WORKER).format(record(exc_text="Traceback: x", stack_info="Stack: y"))
    )
    assert (told["exception"], told["stack"]) == ("Traceback: x", "Stack: y")


def test_a_rich_line_is_coloured_and_has_its_traceback_and_its_stack() -> None:
    assert "\x1b[34mINFO" in RichFormatter(SUPERVISOR).format(record())
    assert "\x1b[36m[worker 3 order-17]\x1b[0m hello you" in RichFormatter(IN_TASK).format(record())
    lines = RichFormatter(WORKER).format(record(error=True, stack_info="Stack: y"))
    assert "ValueError: wrong" in lines
    assert lines.endswith("Stack: y")


@pytest.mark.parametrize(
    ("name", "kind"), [("json", JsonFormatter), ("plain", PlainFormatter), ("rich", RichFormatter)]
)
def test_each_format_has_its_formatter(name: str, kind: type) -> None:
    assert type(formatter(name, SUPERVISOR)) is kind


def test_a_line_that_no_logger_was_asked_for_is_like_the_others() -> None:
    told = json.loads(line_of(JsonFormatter(WORKER), "stderr", logging.WARNING, "100%s"))
    assert (told["level"], told["logger"], told["message"]) == ("WARNING", "stderr", "100%s")


@pytest.mark.parametrize(
    ("text", "so"), [('{"a": 1}', True), ("{a}", False), ("[1]", False), ('{"a": 1} x', False)]
)
def test_a_line_that_is_json_already_is_known(text: str, so: bool) -> None:
    assert is_json_object(text) is so
