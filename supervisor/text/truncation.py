"""Texts of the user's, cut to what a message may hold (pure)."""

from __future__ import annotations

from typing import Final

#: Characters of a one-line reason, of a task's key or name, and of a traceback, at most: a frame
#: with all of them stays under its limit, whatever their encoding takes.
REASON: Final = 2_000
NAME: Final = 500
TRACEBACK: Final = 100_000

_MARK: Final = "[...]"


def head(text: str, limit: int) -> str:
    """The text, or its beginning and a mark that there is more; at most `limit` characters."""
    text = _encodable(text)
    return text if len(text) <= limit else text[: limit - len(_MARK)] + _MARK


def tail(text: str, limit: int) -> str:
    """The text, or its end after a mark: of a traceback the end says most."""
    text = _encodable(text)
    return text if len(text) <= limit else _MARK + text[len(text) + len(_MARK) - limit :]


def head_bytes(text: str, limit: int) -> str:
    """The beginning of the text, at most `limit` bytes of UTF-8, cut between characters."""
    return _encodable(text).encode()[:limit].decode(errors="ignore")


def escape(text: str) -> str:
    """`text` with what is not printable spelled out, as \\x1b: for a line on a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _encodable(text: str) -> str:
    """The text as UTF-8 can have it: a file name that is not UTF-8 comes to us as surrogates."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()
