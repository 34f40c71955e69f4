"""The log of `docket worker` on stdout: rich, plain or json."""

import json
import logging
import os
import sys

from docket.log_text import EXCEPTION, RECORD, BoundedFormatter, ends, shown
from docket_display import terminal_log
from docket_display.printable import in_json, on_lines, on_one_line

#: The attributes of every record; any other one comes from the caller (`extra`).
_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(BoundedFormatter):
    """A formatter that writes one JSON object a line.

    It has the logger's `name`, `asctime` (local), `levelname`, `message`, `exc_info` (the traceback
    or null), and the caller's `extra` under their own names, as `docket.key`; each is bounded.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its line end."""
        line: dict[str, object] = {
            "name": record.name,
            "asctime": self.formatTime(record),
            "levelname": record.levelname,
            "message": ends(record.getMessage(), EXCEPTION),
            "exc_info": self.formatException(record.exc_info) if record.exc_info else None,
        }
        extra = {k: _bounded(v) for k, v in vars(record).items() if k not in _OF_EVERY_RECORD}
        try:
            return _in_json({**extra, **line})
        except Exception:
            # JSON has no such value: NaN, a key that is a tuple, an object that contains itself, an
            # int of too many digits, one whose own code fails.
            return _in_json({**{k: _shown(v) for k, v in extra.items()}, **line})


class RichFormatter(BoundedFormatter):
    """Colours for a terminal, and lines that it need not break (`docket_display.terminal_log`)."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record, without their end."""
        text = self.formatException(record.exc_info) if record.exc_info else record.exc_text
        below = "\n".join(each for each in (text, record.stack_info) if each)
        shown = terminal_log.Record(
            record.created,
            record.levelname,
            "",
            on_one_line(record.name),
            on_lines(ends(record.getMessage(), EXCEPTION)),
            on_lines(f"\n{below}").split("\n")[1:] if below else (),
        )
        colors = terminal_log.allows_colors(os.environ)
        return ends(terminal_log.render(shown, _width(), colors=colors), RECORD)


def _width() -> int | None:
    """Return the columns of the terminal that stdout is, at this moment; None if it is none."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None


def _in_json(line: dict[str, object]) -> str:
    return in_json(json.dumps(line, ensure_ascii=False, allow_nan=False, default=str))


def _shown(value: object) -> str:
    try:
        return shown(value)
    except Exception as error:
        return f"<{type(value).__name__} without a repr: {type(error).__name__}>"


def _bounded(value: object) -> object:
    if isinstance(value, (bool, int, float, type(None))):
        return value
    if isinstance(value, str):
        return ends(value, RECORD)
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except Exception:
        return value  # JSON has no such value: it is shown as its text.
    return value if len(text) <= RECORD else ends(text, RECORD)


def configure(level: str, logging_format: str | None) -> None:
    """Log to stdout from now on; for a program that owns its process.

    Args:
        level: the lowest level shown: DEBUG, INFO, WARNING, ERROR or CRITICAL.
        logging_format: rich, plain or json; None: rich on a terminal, else plain.
    """
    chosen = logging_format or ("rich" if sys.stdout.isatty() else "plain")
    logging.basicConfig(level=level.upper(), handlers=[_handler(chosen)], force=True)


def configure_warnings() -> None:
    """Log warnings to stderr, bounded and printable; for a command that shows something else."""
    handler = logging.StreamHandler()
    handler.setFormatter(BoundedFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def _handler(logging_format: str) -> logging.Handler:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_formatter(logging_format))
    return handler


def _formatter(logging_format: str) -> logging.Formatter:
    if logging_format == "rich":
        return RichFormatter()
    if logging_format == "json":
        return JsonFormatter()
    return BoundedFormatter(
        "[%(asctime)s] %(levelname)s - %(name)s - %(message)s", "%Y-%m-%d %H:%M:%S"
    )
