"""The heartbeats of all registered consumers, as they were read at one moment."""

from collections.abc import Sequence
from typing import NamedTuple

from docket.clock import score_milliseconds
from docket.store.claims import is_text


class Heartbeats(NamedTuple):
    """The last heartbeat of each registered consumer.

    server_now: the server's time at which they were read, in milliseconds.
    beats: the consumers' last heartbeats, in server milliseconds.
    """

    server_now: int
    beats: dict[bytes, int]


def read_beats(flat: Sequence[bytes]) -> dict[bytes, int]:
    """Read names and scores; a name that is not UTF-8 is no consumer's of ours."""
    return {
        name: score_milliseconds(beat)
        for name, beat in zip(flat[::2], flat[1::2], strict=True)
        if is_text(name)
    }
