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
    return text if len(text) <= limit else text[: limit - len(_MARK)] + _MARK


def tail(text: str, limit: int) -> str:
    """The text, or its end after a mark: of a traceback the end says most."""
    return text if len(text) <= limit else _MARK + text[len(_MARK) - limit :]


def head_bytes(text: str, limit: int) -> str:
    """The beginning of the text that takes at most `limit` bytes in UTF-8, cut between characters.

    Characters that UTF-8 does not have (lone surrogates) become question marks.
    """
    return text.encode(errors="replace")[:limit].decode(errors="ignore")
