"""The log of our programs on stderr: rich, plain or json."""

import json
import logging
import sys
from datetime import UTC, datetime

from rich.console import Console
from rich.logging import RichHandler

from docket.log_text import EXCEPTION, RECORD, BoundedFormatter, ends, format_exception

#: The attributes of every record; any other one comes from the caller (`extra`).
_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A formatter that writes one JSON object a line.

    It has the time (UTC), level, logger, pid, message, the caller's `extra` (from a task's logger:
    docket, worker, task, key, attempt), and the exception, if any. Each of them is bounded.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its line end."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "message": ends(record.getMessage(), EXCEPTION),
        }
        for name, value in vars(record).items():
            if name not in _OF_EVERY_RECORD:
                line.setdefault(name, _bounded(value))
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = format_exception(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, default=str)


def _bounded(value: object) -> object:
    if isinstance(value, (bool, int, float, type(None))):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return value if len(text) <= RECORD else ends(text, RECORD)


def configure(level: str, logging_format: str | None) -> None:
    """Log to stderr from now on; for a program that owns its process.

    Args:
        level: the lowest level shown: DEBUG, INFO, WARNING, ERROR or CRITICAL.
        logging_format: rich, plain or json; None: rich on a terminal, else plain.
    """
    chosen = logging_format or ("rich" if sys.stderr.isatty() else "plain")
    logging.basicConfig(level=level.upper(), handlers=[_handler(chosen)], force=True)


def _handler(logging_format: str) -> logging.Handler:
    if logging_format == "rich":
        rich = RichHandler(console=Console(stderr=True), show_path=False, log_time_format="[%X]")
        rich.setFormatter(BoundedFormatter("%(message)s"))
        return rich
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter()
        if logging_format == "json"
        else BoundedFormatter(
            "%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S"
        )
    )
    return handler
