"""Pages of the executions in one state, by plain reads whose cost does not grow with them."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from docket.store.connection.pipeline import Argument, Pipeline
from docket.store.connection.retrying import PATIENCE_SECONDS, retry
from docket.store.keys import WORKER_GROUP, Keys, Stream

#: What waits for a slot of a limit stands in the queue with this time (ms), as in _streams.lua.
NEVER = 253402300800000

#: The streams in the order in which workers read them.
_STREAMS = (Stream.QUARANTINE, Stream.REDELIVERY, Stream.READY)

#: A position in a listing: values that tell where to go on, in the order of that listing.
Position = tuple[int | str | bytes, ...]


class Found(NamedTuple):
    """One execution of a page, before its record was read.

    position: where to go on after it. entry: that of a stream, or b"". generation: that which the
    listing names; None if it names none.
    """

    key: bytes
    position: Position
    entry: bytes = b""
    generation: bytes | None = None


class Span(NamedTuple):
    """A span of time in server milliseconds: from `since` on, and before `until`."""

    since: int | None = None
    until: int | None = None


class Pages:
    """The listings of one docket, page by page.

    Args:
        pipeline: the connection.
        keys: those of the docket.
    """

    def __init__(self, pipeline: Pipeline, keys: Keys) -> None:
        self._pipeline = pipeline
        self._keys = keys

    async def scheduled(self, after: Position | None, count: int, span: Span) -> list[Found]:
        """List what is due later, the next first. A position is the due time and the key."""
        first = await self._count_below(self._keys.queue, span.since)
        last = await self._count_below(self._keys.queue, min(span.until or NEVER, NEVER))
        if after is not None:
            first = max(first, await self._rank_after(self._keys.queue, after))
        return await self._ranked(self._keys.queue, first, min(first + count, last))

    async def waiting(self, after: Position | None, count: int, _span: Span) -> list[Found]:
        """List what waits for a slot of a limit, by key. A position is as of `scheduled`."""
        first = await self._count_below(self._keys.queue, NEVER)
        if after is not None:
            first = max(first, await self._rank_after(self._keys.queue, after))
        return await self._ranked(self._keys.queue, first, first + count)

    async def failed(self, after: Position | None, count: int, span: Span) -> list[Found]:
        """List the failures that are kept, the newest first. A position is the time and the key."""
        name = self._keys.failed
        first = await self._count_below(name, span.since)
        last = await self._count_below(name, span.until) if span.until else await self._size(name)
        if after is not None:
            last = min(last, await self._rank(name, after))
        return (await self._ranked(name, max(first, last - count), last))[::-1]

    async def completed(self, after: Position | None, count: int, span: Span) -> list[Found]:
        """List the newest that were completed. A position is the time (us) and the row."""
        return await self._listed(self._keys.completed, after, count, span)

    async def cancelled(self, after: Position | None, count: int, span: Span) -> list[Found]:
        """List the newest that were cancelled; as `completed`."""
        return await self._listed(self._keys.cancelled, after, count, span)

    async def _listed(
        self, name: str, after: Position | None, count: int, span: Span
    ) -> list[Found]:
        rows = await self._read("LRANGE", name, 0, -1)
        found: list[Found] = []
        is_after = after is None
        for row in rows:
            at, _, rest = row.partition(b" ")
            generation, _, key = rest.partition(b" ")
            if not at.isdigit():
                continue
            if not is_after and after is not None:
                # Its row may have been trimmed away: then those that ended before it follow.
                is_after = int(at) < int(after[0])
                if row == after[1]:
                    is_after = True
                    continue
            if is_after and _is_within(int(at) // 1000, span):
                found.append(Found(key, (int(at), row), b"", generation))
            if len(found) == count:
                break
        return found

    async def queued(self, after: Position | None, count: int, _span: Span) -> list[Found]:
        """List what is ready, in the order in which workers take it. A position is the entry."""
        return await self._of_streams(after, count, self._unread)

    async def running(self, after: Position | None, count: int, _span: Span) -> list[Found]:
        """List what workers run. A position is the entry."""
        return await self._of_streams(after, count, self._pending)

    async def numbers(self) -> dict[str, int]:
        """Count the executions in each state; of those that ended well, those that are listed."""
        keys = self._keys
        streams = keys.places[:3]
        commands: list[tuple[Argument, ...]] = [
            ("ZCOUNT", keys.queue, "-inf", f"({NEVER}"),
            ("ZCOUNT", keys.queue, NEVER, "+inf"),
            ("ZCARD", keys.failed),
            ("LLEN", keys.cancelled),
            ("LLEN", keys.completed),
            *(("XLEN", stream) for stream in streams),
            *(("XPENDING", stream, WORKER_GROUP) for stream in streams),
        ]
        scheduled, waiting, failed, cancelled, completed, *rest = await self.many(commands)
        running = sum(summary[0] for summary in rest[3:] if summary)
        return {
            "scheduled": scheduled,
            "waiting": waiting,
            "failed": failed,
            "cancelled": cancelled,
            "completed": completed,
            "running": running,
            "queued": max(0, sum(rest[:3]) - running),
        }

    # Sorted sets --------------------------------------------------------------------------

    async def _ranked(self, name: str, first: int, last: int) -> list[Found]:
        if last <= first:
            return []
        flat = await self._read("ZRANGE", name, first, last - 1, "WITHSCORES")
        return [
            Found(key, (int(float(score)), key))
            for key, score in zip(flat[::2], flat[1::2], strict=True)
        ]

    async def _size(self, name: str) -> int:
        return await self._read("ZCARD", name)

    async def _count_below(self, name: str, score: int | None) -> int:
        return 0 if score is None else await self._read("ZCOUNT", name, "-inf", f"({score}")

    async def _rank_after(self, name: str, position: Position) -> int:
        rank = await self._rank(name, position)
        at = await self._read("ZRANGE", name, rank, rank)
        return rank + (at == [position[1]])

    async def _rank(self, name: str, position: Position) -> int:
        """Count the members before a position, which may have left the set since.

        Of the members of one score, in their order, the place is found by halving.
        """
        score, member = int(position[0]), _bytes(position[1])
        low = await self._count_below(name, score)
        high = await self._read("ZCOUNT", name, "-inf", score)
        while low < high:
            middle = (low + high) // 2
            at = await self._read("ZRANGE", name, middle, middle)
            if at and at[0] < member:
                low = middle + 1
            else:
                high = middle
        return low

    # Streams ------------------------------------------------------------------------------

    async def _of_streams(self, after: Position | None, count: int, read: Any) -> list[Found]:
        letter, identity = (
            ("", b"") if after is None else (_bytes(after[0]).decode(), _bytes(after[1]))
        )
        letters = [stream.value for stream in _STREAMS]
        start = letters.index(letter) if letter else 0
        found: list[Found] = []
        for stream in _STREAMS[start:]:
            beyond = identity if stream.value == letter else b""
            found += await read(stream, beyond, count - len(found))
            if len(found) == count:
                break
        return found

    async def _unread(self, stream: Stream, beyond: bytes, count: int) -> list[Found]:
        name = self._keys.places[_PLACES.index(stream)]
        delivered = await self._last_delivered(name)
        start = max(_id(beyond), _id(delivered)) if beyond else _id(delivered)
        rows = await self._read("XRANGE", name, f"({start[0]}-{start[1]}", "+", "COUNT", count)
        return [_found(stream, identity, fields) for identity, fields in rows]

    async def _pending(self, stream: Stream, beyond: bytes, count: int) -> list[Found]:
        name = self._keys.places[_PLACES.index(stream)]
        start = b"(" + beyond if beyond else b"-"
        rows = await self._read("XPENDING", name, WORKER_GROUP, start, "+", count)
        entries = await self.many([("XRANGE", name, row[0], row[0]) for row in rows])
        return [_found(stream, entry[0][0], entry[0][1]) for entry in entries if entry]

    async def _last_delivered(self, name: str) -> bytes:
        for group in await self._read("XINFO", "GROUPS", name):
            fields = dict(zip(group[::2], group[1::2], strict=True))
            if fields[b"name"] == WORKER_GROUP.encode():
                return fields[b"last-delivered-id"]
        return b"0-0"

    # Reads --------------------------------------------------------------------------------

    async def _read(self, *words: Argument) -> Any:
        (reply,) = await self.many([words])
        return reply

    async def many(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Read many things in one round trip; what is not there, or of another type, is empty.

        Raises:
            ServerUnavailable: the server was away for PATIENCE_SECONDS.
            NotPermitted: the user may not read one of them.
        """
        return await retry(lambda: self._together(commands))

    async def _together(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        await self._pipeline.connected(PATIENCE_SECONDS)
        # Sent by hand: a task for each of hundreds of reads would cost ten times what they do.
        sent = [self._pipeline.send(*words) for words in commands]
        replies = await asyncio.gather(*sent, return_exceptions=True)
        return [
            self._empty(words, reply) if isinstance(reply, BaseException) else reply
            for words, reply in zip(commands, replies, strict=True)
        ]

    def _empty(self, words: Sequence[Argument], error: BaseException) -> Any:
        """Return what stands for a key that is not there, or raise the error."""
        if isinstance(error, ResponseError) and any(text in str(error) for text in _ABSENT):
            return 0 if words[0] in _NUMBERS else []
        raise self._pipeline.denied(str(words[0]), error) or error


#: Errors about keys that are not there, or of another type.
_ABSENT = ("WRONGTYPE", "NOGROUP", "no such key")
#: Commands that return a number.
_NUMBERS = {"ZCARD", "ZCOUNT", "HSTRLEN", "LLEN", "XLEN"}
#: The order of Keys.places.
_PLACES = (Stream.READY, Stream.REDELIVERY, Stream.QUARANTINE)


def _found(stream: Stream, identity: bytes, fields: Sequence[bytes]) -> Found:
    entry = stream.value.encode() + identity
    return Found(fields[1], (stream.value, identity), entry)


def _id(identity: bytes) -> tuple[int, int]:
    milliseconds, _, sequence = identity.partition(b"-")
    return int(milliseconds), int(sequence or 0)


def _bytes(value: int | str | bytes) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _is_within(milliseconds: int, span: Span) -> bool:
    return (span.since is None or milliseconds >= span.since) and (
        span.until is None or milliseconds < span.until
    )
