"""The formats of log lines: rich, plain and json (pure, but for the clock).

A line of a worker names the worker and, inside a task, the task. They are looked up while a line is
formatted, so that records below the enabled level cost nothing. A line is bounded, whatever the
record holds (`supervisor.text.truncation`).
"""

import json
import logging
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from msgspec import Struct

from docket_display import printable, terminal_log
from supervisor.text import truncation

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


class LogContext(Struct, frozen=True):
    """The process that writes, and its current task.

    Arguments:
        name: for readers: `worker 3`; empty for the supervisor, whose lines have no name.
        worker: the slot, for programs; None in a process that is not a worker.
        task: returns key and function of the task that the caller is in, None outside of tasks.
    """

    name: str = ""
    worker: int | None = None
    task: Callable[[], tuple[str, str] | None] = no_task

    def prefix(self, message: str = "") -> str:
        """The beginning of a message: `[worker 3 order-17] `, or nothing.

        Arguments:
            message: has the key left out if it names the task itself: `ship(...){order-17}`.
        """
        task = self.task()
        words = [self.name] if self.name else []
        if task is not None:
            # A key may hold anything; a line end in it would make two lines of one, an escape
            # sequence would draw on the terminal.
            key = printable.on_one_line(" ".join(task[0].split())[:KEY_SHOWN])
            if f"{{{key}" not in message:
                words.append(key)
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
    """Colours for a terminal, and lines that it need not break (`docket_display.terminal_log`).

    Arguments:
        log_context: the process that writes.
        fd: the descriptor that the lines go to; if it is a terminal they are wrapped for it.
        environment: NO_COLOR and TERM=dumb are obeyed.
    """

    def __init__(
        self,
        log_context: LogContext,
        fd: int | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        super().__init__()
        self._log_context = log_context
        self._fd = fd
        self._colors = terminal_log.allows_colors(environment)

    def format(self, record: logging.LogRecord) -> str:
        """Format the line, without its end."""
        message = _bounded(record.getMessage())
        below: list[str] = []
        if record.exc_info:
            below += _below(self.formatException(record.exc_info)).split("\n")
        if record.stack_info:
            below += _below(self.formatStack(record.stack_info)).split("\n")
        shown = terminal_log.Record(
            record.created,
            record.levelname,
            self._log_context.prefix(message).rstrip(),
            printable.on_one_line(record.name),
            message,
            below,
        )
        text = terminal_log.render(shown, self._width(), colors=self._colors)
        return truncation.ends(text, truncation.RECORD)

    def _width(self) -> int | None:
        """The columns of the terminal, at this moment; None elsewhere."""
        try:
            # A terminal that does not know its size has 0 columns.
            return os.get_terminal_size(self._fd).columns or None if self._fd is not None else None
        except OSError:
            return None


def _below(text: str) -> str:
    return printable.on_lines(f"\n{text}").removeprefix("\n")


def formatter(
    logging_format: str, log_context: LogContext, fd: int | None = None
) -> logging.Formatter:
    """The formatter of this name, rich, plain or json, of lines that go to `fd`."""
    if logging_format == "json":
        return JsonFormatter(log_context)
    if logging_format == "rich":
        return RichFormatter(log_context, fd)
    return PlainFormatter(log_context)


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
    except (ValueError, RecursionError):
        return False
