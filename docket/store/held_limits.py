"""The slots of concurrency limits as they are held and waited for, by plain reads."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from docket.store.connection.pipeline import Pipeline
from docket.store.keys import Keys
from docket.store.pages import Pages, Span

#: Holders of a scope that are read to be named; of more, none is.
_MOST_HOLDERS = 1_000


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
        for request in (await self._limits(key)).get("w") or ():
            match request:
                case [name, int(size)] if name == scope:
                    return size
                case _:
                    continue
        return None

    async def place(self, scope: str, key: str) -> tuple[int | None, int]:
        """Return the number of tasks before one that waits, None if it does not, and of all."""
        order = (await self._limits(key.encode())).get("o")
        name = self._keys.waiting(scope)
        if not isinstance(order, (int, float)):
            return None, 0
        ahead: int = await self._read("ZCOUNT", name, "-inf", f"({int(order)}")
        return ahead, await self._read("ZCARD", name)

    async def _limits(self, key: bytes) -> Mapping[str, Any]:
        packed = await self._read("HMGET", self._keys.record_prefix.encode() + key, "limits")
        try:
            return msgspec.msgpack.decode(packed[0], type=dict[str, Any]) if packed[0] else {}
        except (msgspec.MsgspecError, LookupError, UnicodeDecodeError):
            return {}  # Somebody else has written it.

    async def _read(self, *words: Any) -> Any:
        (reply,) = await self._pages.many([words])
        return reply


def _scopes(packed: bytes) -> Sequence[str]:
    try:
        return msgspec.msgpack.decode(packed, type=list[str])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ()  # Somebody else has written it.
