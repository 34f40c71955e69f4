"""What is logged is bounded, whatever the size of keys, arguments and exceptions."""

from __future__ import annotations

import json
import logging
from typing import Annotated, Any

import pytest

from docket import Docket, Logged, log_text
from docket.annotations import CallFormat
from docket.cli.logs import JsonFormatter
from docket.log_text import BoundedFormatter, format_exception
from docket.services.outcomes import error_text
from docket_display.printable import on_one_line
from supervisor.text import truncation
from tests.support.dockets import failure_of, finish

HUGE = 5_000_000


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def noted(error: BaseException) -> BaseException:
    error.add_note("n" * HUGE)
    return error


ERRORS = [
    ValueError("x" * HUGE),
    ValueError("line\n" * (HUGE // len("line\n"))),
    noted(ValueError("short")),
    caused(ValueError("the end"), KeyError("c" * HUGE)),
    ExceptionGroup("g" * HUGE, [ValueError("x" * HUGE), ValueError("the end")]),
]


def record(message: str, *args: object, error: BaseException | None = None) -> logging.LogRecord:
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord("docket.worker", logging.ERROR, "f", 1, message, args, exc_info)


@pytest.mark.parametrize("error", ERRORS)
def test_an_exception_of_any_size_is_formatted_bounded(error: BaseException) -> None:
    text = format_exception(error)

    assert len(text) <= log_text.EXCEPTION
    assert "[...]" in text
    assert text == truncation.format_exception(error)
    for formatter in (BoundedFormatter("%(message)s"), JsonFormatter()):
        line = formatter.format(record("it failed", error=error))
        assert "it failed" in line
        assert len(line) <= 2 * log_text.RECORD


def test_a_short_exception_is_formatted_as_by_python() -> None:
    error = caused(ValueError("no"), KeyError("why"))
    with pytest.raises(ValueError, match="no"):
        raise error

    expected = logging.Formatter().formatException((ValueError, error, error.__traceback__))
    assert "Traceback" in expected
    assert "KeyError: 'why'" in expected
    assert format_exception(error) == truncation.format_exception(error) == expected


@pytest.mark.parametrize("formatter", [BoundedFormatter("%(message)s"), JsonFormatter()])
def test_a_message_of_any_size_keeps_its_beginning_and_its_end(
    formatter: logging.Formatter,
) -> None:
    line = formatter.format(record("begin %s end", "x" * HUGE))

    assert len(line) <= log_text.RECORD
    assert "begin xxx" in line
    assert "xxx end" in line


def test_what_a_caller_adds_to_a_json_line_is_bounded() -> None:
    made = record("m")
    vars(made).update(text="x" * HUGE, items=["x" * HUGE], count=3)

    fields = json.loads(JsonFormatter().format(made))

    assert fields["count"] == 3
    assert max(len(fields["text"]), len(fields["items"])) <= log_text.RECORD


class Verbose:
    def __repr__(self) -> str:
        return "v" * HUGE


class Shouted(Logged):
    def format(self, argument: Any) -> str:
        return "!" * HUGE


@pytest.mark.parametrize("value", ["x" * HUGE, b"x" * HUGE, ["x" * HUGE], Verbose()])
def test_an_argument_and_a_key_of_any_size_are_shown_bounded(value: Any) -> None:
    async def task(a: Annotated[Any, Logged], *more: Annotated[Any, Shouted()]) -> None: ...

    shown = CallFormat(task)("task", (value, *range(10)), {})
    line = on_one_line(log_text.ends(f"{shown}{{{'k' * HUGE}the-key}}", log_text.CALL))

    assert len(shown) <= 20 * log_text.ARGUMENT
    assert len(line) <= log_text.CALL
    assert line.startswith("task(")
    assert line.endswith("the-key}")
    assert on_one_line("short\n") == r"short\n"


@pytest.mark.anyio
async def test_a_task_that_fails_with_a_huge_text_writes_a_short_line(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails() -> None:
        raise ValueError("x" * 40_000_000)

    execution = await docket.add(fails)()
    await finish(docket)

    (failed,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    failed.exc_text = None  # as pytest's own formatter has it
    assert len(BoundedFormatter("%(message)s").format(failed)) <= 2 * log_text.EXCEPTION_TEXT
    assert len(str(await failure_of(execution))) < 5_000
    assert len(error_text(ValueError("x" * HUGE))) <= 4096


def test_the_supervisor_has_the_bounds_of_the_library() -> None:
    assert (truncation.RECORD, truncation.TRACEBACK, truncation.EXCEPTION_TEXT) == (
        log_text.RECORD,
        log_text.EXCEPTION,
        log_text.EXCEPTION_TEXT,
    )
