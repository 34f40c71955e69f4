"""Cursors: where a listing goes on, as text that a program or a person may carry about (pure)."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec

from docket.listing.filters import check_text
from docket.listing.summaries import ListedState
from docket.store.keys import Stream
from docket.store.pages import Position

_IN_STREAMS = {ListedState.QUEUED, ListedState.RUNNING}
_LETTERS = {stream.value.encode() for stream in Stream}
_IN_LISTS = {ListedState.CANCELLED, ListedState.COMPLETED}
_ENTRY = re.compile(rb"(\d{1,20})-(\d{1,20})")
#: A score of a sorted set, as a server writes it.
_SCORE = re.compile(rb"-?(inf|\d{1,310}(\.\d{1,310})?(e[+-]?\d{1,3})?)")


class Bookmark(msgspec.Struct, frozen=True, array_like=True):
    """The place where a listing goes on: a state, and a position in it (None: its beginning).

    digest: the mark of the docket and the filter that it belongs to.
    """

    digest: bytes
    state: ListedState
    position: tuple[int | bytes, ...] | None = None


def written(digest: bytes, state: ListedState, position: Position | None) -> str:
    """Write a cursor."""
    values = None if position is None else tuple(_plain(value) for value in position)
    return urlsafe_b64encode(msgspec.msgpack.encode(Bookmark(digest, state, values))).decode()


def read(cursor: str, digest: bytes) -> Bookmark:
    """Read a cursor.

    Raises:
        ValueError: it is none, or that of another docket or filter.
        TypeError: it is no str.
    """
    check_text("cursor", cursor)
    try:
        packed = urlsafe_b64decode(cursor.encode())
        place = msgspec.msgpack.decode(packed, type=Bookmark)
    except (ValueError, msgspec.MsgspecError):
        raise ValueError(f"{cursor[:80]!r} is no cursor of a listing: begin without one") from None
    if place.digest != digest:
        raise ValueError(
            "The cursor belongs to another docket or another filter: begin without one, or use "
            "the filter that it came from"
        )
    if place.position is not None and not _is_sound(place.state, place.position):
        raise ValueError(f"{cursor[:80]!r} is no cursor of a listing: begin without one")
    return place


def _is_sound(state: ListedState, position: Position) -> bool:
    match position:
        case (bytes(letter), bytes(entry)) if state in _IN_STREAMS:
            return letter in _LETTERS and _is_entry(entry)
        case (int(), bytes()) if state in _IN_LISTS:
            return True
        case (bytes(score), bytes()) if state not in _IN_STREAMS | _IN_LISTS:
            return _SCORE.fullmatch(score) is not None
        case _:
            return False


def _is_entry(text: bytes) -> bool:
    entry = _ENTRY.fullmatch(text)
    return entry is not None and max(int(entry[1]), int(entry[2])) < 2**64


def _plain(value: int | str | bytes) -> int | bytes:
    return value.encode() if isinstance(value, str) else value
