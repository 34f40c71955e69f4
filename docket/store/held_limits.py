"""The slots of concurrency limits as they are held and waited for, by plain reads."""

from collections.abc import Sequence
from typing import Any

import msgspec

from docket.store.connection.pipeline import Pipeline
from docket.store.keys import Keys
from docket.store.pages import Pages, Span

#: Holders of a scope that are read to be named; of more, none is.
_MOST_HOLDERS = 1_000


class RecordedLimits(msgspec.Struct, frozen=True):
    """The field `limits` of a record: what its execution waits for; see _limits.lua.

    Attributes:
        g: the generation of the execution.
        o: its place in the order of those that wait (us).
        w: the scopes and sizes of the slots that it waits for.
    """

    g: str
    o: int | None = None
    w: list[tuple[str, int]] = []


def granted_or_waited_for(packed: bytes) -> RecordedLimits | None:
    """Read the field `limits` of a record; None for one that is none of ours.

    By its type: to put a dict of anything together takes as long as its writer wants, by keys of
    the same hash.
    """
    try:
        return _recorded.decode(packed)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # Somebody else has written it.


_recorded = msgspec.msgpack.Decoder(RecordedLimits)


class HeldLimits:
    """The limits of one docket.

    Args:
        pipeline: the connection.
        keys: those of the docket.
    """

    def __init__(self, pipeline: Pipeline, keys: Keys) -> None:
        self._keys = keys
        self._pages = Pages(pipeline, keys)

    async def held_scopes(self, runs: int) -> list[str]:
        """Return the scopes of which slots are held by the first so many runs."""
        running = await self._pages.running(None, runs, Span())
        if not running:
            return []
        entries = [one.entry for one in running]
        rows: list[bytes | None] = await self._read("HMGET", self._keys.holds, *entries)
        scopes = (scope for row in rows if row for scope in _scopes(row))
        return list(dict.fromkeys(scopes))

    async def holders(self, scope: str, count: int) -> tuple[int, list[bytes]]:
        """Return the number of slots that are held, and the first keys that hold one."""
        name = self._keys.slots(scope)
        held: int = await self._read("HLEN", name) or 0
        if not 0 < held <= _MOST_HOLDERS:
            return held, []
        flat: list[bytes] = await self._read("HGETALL", name)
        return held, flat[1::2][:count]

    async def line(self, scope: str, count: int) -> tuple[int, list[bytes]]:
        """Return the number of tasks that wait for a slot, and the first of them."""
        name = self._keys.waiting(scope)
        waiting: int = await self._read("ZCARD", name)
        return waiting, await self._read("ZRANGE", name, 0, count - 1) if waiting else []

    async def size(self, scope: str, key: bytes) -> int | None:
        """Return the size of a limit as a task says that waits for it."""
        limits = await self._limits(key)
        sizes = dict(limits.w) if limits is not None else {}
        return sizes.get(scope)

    async def place(self, scope: str, key: str) -> tuple[int | None, int]:
        """Return the number of tasks before one that waits, None if it does not, and of all."""
        limits = await self._limits(key.encode())
        if limits is None or limits.o is None:
            return None, 0
        name = self._keys.waiting(scope)
        ahead: int = await self._read("ZCOUNT", name, "-inf", f"({limits.o}")
        return ahead, await self._read("ZCARD", name)

    async def _limits(self, key: bytes) -> RecordedLimits | None:
        packed = await self._read("HMGET", self._keys.record_prefix.encode() + key, "limits")
        return granted_or_waited_for(packed[0]) if packed and packed[0] else None

    async def _read(self, *words: Any) -> Any:
        (reply,) = await self._pages.many([words])
        return reply


def _scopes(packed: bytes) -> Sequence[str]:
    try:
        return msgspec.msgpack.decode(packed, type=list[str])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ()  # Somebody else has written it.
