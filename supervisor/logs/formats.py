"""The formats of log lines: rich, plain and json (pure, but for the clock).

A line of a worker names the worker and, inside a task, the task. They are looked up while a line is
formatted, so that records below the enabled level cost nothing. A line is bounded, whatever the
record holds (`supervisor.text.truncation`).
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from docket_display import printable
from supervisor.text import truncation

_COLORS = {"DEBUG": "2", "INFO": "34", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}

#: Most characters of a key in a plain or rich line; in JSON it has up to `truncation.REASON`.
KEY_SHOWN = 80

#: Most bits of an int in JSON: of one with many more Python makes no text.
_INT_BITS = 8192

#: Attributes of every record; any other was given by the caller as `extra`.
_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
}


def no_task() -> tuple[str, str] | None:
    """Return None, as the current task of a process that runs none."""
    return None


@dataclass(frozen=True, slots=True)
class LogContext:
    """The process that writes, and its current task.

    Arguments:
        name: for readers: `worker 3`; empty for the supervisor, whose lines have no name.
        worker: the slot, for programs; None in a process that is not a worker.
        task: returns key and function of the task that the caller is in, None outside of tasks.
    """

    name: str = ""
    worker: int | None = None
    task: Callable[[], tuple[str, str] | None] = no_task

    def prefix(self) -> str:
        """The beginning of a message: `[worker 3 order-17] `, or nothing."""
        task = self.task()
        words = [self.name] if self.name else []
        if task is not None:
            # A key may hold anything; a line end in it would make two lines of one, an escape
            # sequence would draw on the terminal.
            words.append(printable.on_one_line(" ".join(task[0].split())[:KEY_SHOWN]))
        return f"[{' '.join(words)}] " if words else ""


class _BoundedFormatter(logging.Formatter):
    """A formatter whose lines have at most `truncation.RECORD` characters."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the line, without its end."""
        return _bounded(super().format(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Format the traceback, without its end."""
        return "None" if ei[1] is None else truncation.format_exception(ei[1])


def _bounded(text: str) -> str:
    """Cut a record; no text of a task in it makes a line that looks like another record."""
    text = printable.on_lines(truncation.ends(text, truncation.RECORD))
    return truncation.ends(text, truncation.RECORD)


class PlainFormatter(_BoundedFormatter):
    """`2026-01-02 03:04:05.678 INFO [worker 3 order-17] docket.worker: message`, local time."""

    def __init__(self, log_context: LogContext) -> None:
        super().__init__("%(asctime)s", "%Y-%m-%d %H:%M:%S")
        self._log_context = log_context

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Format the line without its traceback."""
        at = f"{record.asctime}.{int(record.msecs):03d}"
        prefix = self._log_context.prefix()
        return f"{at} {record.levelname} {prefix}{record.name}: {record.message}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the fields that are known.

    They are time (UTC), level, logger, pid, worker, task (its key), function, message, exception,
    stack, and those that the caller gave as `extra`.
    """

    def __init__(self, log_context: LogContext) -> None:
        super().__init__()
        self._log_context = log_context

    def format(self, record: logging.LogRecord) -> str:
        """Format the line, without its end."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
        }
        if self._log_context.worker is not None:
            line["worker"] = self._log_context.worker
        task = self._log_context.task()
        if task is not None:
            line["task"] = truncation.head(task[0], truncation.REASON)
            line["function"] = truncation.head(task[1], truncation.NAME)
        line["message"] = truncation.ends(record.getMessage(), truncation.TRACEBACK)
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = truncation.format_exception(record.exc_info[1])
        elif record.exc_text:
            line["exception"] = truncation.ends(record.exc_text, truncation.TRACEBACK)
        if record.stack_info:
            line["stack"] = truncation.ends(record.stack_info, truncation.TRACEBACK)
        for name, value in vars(record).items():
            if name not in _STANDARD_ATTRIBUTES:
                # An `extra` does not overwrite the fields of ours.
                line.setdefault(name, _as_json(value))
        return printable.in_json(json.dumps(line, ensure_ascii=False, default=str))


def _as_json(value: object) -> object:
    """The value, or its text if JSON has no such value: NaN, a huge int, keys not of text, a cycle.

    Also its text, cut, if it is too long.
    """
    if isinstance(value, int) and value.bit_length() <= _INT_BITS:
        return value
    if isinstance(value, str):
        return truncation.ends(value, truncation.TRACEBACK)
    try:
        text = json.dumps(value, default=str, allow_nan=False)
    except Exception:
        # As said above, or its own code fails.
        return truncation.ends(_repr(value), truncation.TRACEBACK)
    is_short = len(text) <= truncation.TRACEBACK
    return value if is_short else truncation.ends(text, truncation.TRACEBACK)


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__} without a repr: {type(error).__name__}>"


class RichFormatter(_BoundedFormatter):
    """Colours for a terminal, by hand: the library of this name costs every worker 10 MB."""

    def __init__(self, log_context: LogContext) -> None:
        super().__init__()
        self._log_context = log_context

    def format(self, record: logging.LogRecord) -> str:
        """Format the line, without its end."""
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        color = _COLORS.get(record.levelname, "0")
        head = f"\x1b[2m{at}\x1b[0m \x1b[{color}m{record.levelname:<8}\x1b[0m"
        prefix = self._log_context.prefix()
        if prefix:
            head += f" \x1b[36m{prefix.rstrip()}\x1b[0m"
        first, *rest = _bounded(record.getMessage()).split("\n")
        name = printable.on_one_line(record.name)
        lines = [f"{head} {first} \x1b[2m{name}\x1b[0m", *rest]
        if record.exc_info:
            lines.append(_below(self.formatException(record.exc_info)))
        if record.stack_info:
            lines.append(_below(self.formatStack(record.stack_info)))
        return truncation.ends("\n".join(lines), truncation.RECORD)


def _below(text: str) -> str:
    return printable.on_lines(f"\n{text}").removeprefix("\n")


def formatter(logging_format: str, log_context: LogContext) -> logging.Formatter:
    """The formatter of this name: rich, plain or json."""
    if logging_format == "json":
        return JsonFormatter(log_context)
    return RichFormatter(log_context) if logging_format == "rich" else PlainFormatter(log_context)


def line_of(form: logging.Formatter, logger: str, level: int, message: str) -> str:
    """Format a line that does not come from a logger."""
    record = logging.LogRecord(logger, level, "", 0, "%s", (message,), None)
    return form.format(record)


def is_json_object(text: str) -> bool:
    """Tell whether a line is one JSON object already, as structured loggers of users print it."""
    if not text.startswith("{"):
        return False
    try:
        return isinstance(cast(object, json.loads(text)), dict)
    except ValueError:
        return False
