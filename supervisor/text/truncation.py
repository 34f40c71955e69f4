"""Texts of the user's, cut to the limits of messages (pure)."""

from __future__ import annotations

import traceback
from typing import Final

#: Most characters of a one-line reason, of a task's key or name, and of a traceback: a frame with
#: all of them stays under its limit, whatever their encoding takes.
REASON: Final = 2_000
NAME: Final = 500
TRACEBACK: Final = 100_000

#: Most characters of a log record, and of one piece of a traceback (the text of an exception, say).
RECORD: Final = 200_000
EXCEPTION_TEXT: Final = 10_000

_MARK: Final = "[...]"


def head(text: str, limit: int, mark: str = _MARK) -> str:
    """The text, or its beginning and a mark that there is more; at most `limit` characters."""
    text = encodable(text)
    return text if len(text) <= limit else text[: limit - len(mark)] + mark


def tail(text: str, limit: int) -> str:
    """The text, or its end after a mark: of a traceback the end says most."""
    text = encodable(text)
    return text if len(text) <= limit else _MARK + text[len(text) + len(_MARK) - limit :]


def ends(text: str, limit: int) -> str:
    """The text, or its beginning, a mark and its end: at most `limit` characters."""
    if len(text) <= limit:
        return text
    last = limit // 2
    return text[: limit - last - len(_MARK)] + _MARK + text[-last:]


def format_exception(error: BaseException) -> str:
    """The exception with its traceback, causes and notes, without a line end; bounded.

    Each piece is cut as soon as it is made: the text of an exception may have any size.
    """
    made = traceback.TracebackException.from_exception(error).format()
    pieces = [p if len(p) <= EXCEPTION_TEXT else head(p, EXCEPTION_TEXT) + "\n" for p in made]
    text = "".join(pieces).rstrip()
    return text if len(text) <= TRACEBACK else _MARK + text[len(_MARK) - TRACEBACK :]


def head_bytes(text: str, limit: int) -> str:
    """The beginning of the text, at most `limit` bytes of UTF-8, cut between characters."""
    return encodable(text).encode()[:limit].decode(errors="ignore")


def encodable(text: str) -> str:
    """The text with the surrogates escaped as which Python has file names that are not UTF-8."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()
