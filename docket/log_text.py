"""The bounds of what is logged, whatever keys, arguments and exceptions contain (pure)."""

from __future__ import annotations

import logging
import traceback
from typing import Any, Final

from docket_display.printable import on_lines

#: The most characters of a record: a longer one loses its middle.
RECORD: Final = 200_000
#: The most characters of an exception with its traceback; the end says most.
EXCEPTION: Final = 100_000
#: The most characters of one piece of it: the text of one exception, a note, a line of source.
EXCEPTION_TEXT: Final = 10_000
#: The most characters of a call with its key, and of one of its arguments.
CALL: Final = 4_000
ARGUMENT: Final = 1_000

_MARK: Final = "[...]"


def head(text: str, limit: int) -> str:
    """Return the text, or its beginning and a mark: at most `limit` characters."""
    return text if len(text) <= limit else text[: limit - len(_MARK)] + _MARK


def ends(text: str, limit: int) -> str:
    """Return the text, or its beginning, a mark, and its end: at most `limit` characters."""
    if len(text) <= limit:
        return text
    last = limit // 2
    return head(text[: limit - last + 1], limit - last) + text[-last:]


def shown(value: object) -> str:
    """Return the repr of an argument, bounded; of a long text only the beginning is taken."""
    if isinstance(value, (str, bytes, bytearray)) and len(value) > ARGUMENT:
        value = value[:ARGUMENT]
    return head(repr(value), ARGUMENT)


def format_exception(error: BaseException) -> str:
    """Format an exception with its traceback, causes and notes, without a line end; bounded.

    Each piece is cut as soon as it is made: the text of an exception may have any size.
    """
    pieces = [_piece(text) for text in traceback.TracebackException.from_exception(error).format()]
    text = "".join(pieces).rstrip()
    return text if len(text) <= EXCEPTION else _MARK + text[len(_MARK) - EXCEPTION :]


def _piece(text: str) -> str:
    return text if len(text) <= EXCEPTION_TEXT else head(text, EXCEPTION_TEXT) + "\n"


class BoundedFormatter(logging.Formatter):
    """A formatter whose records have at most RECORD characters, and are printable lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        return ends(on_lines(ends(super().format(record), RECORD)), RECORD)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return the exception as text."""
        return "None" if ei[1] is None else format_exception(ei[1])
