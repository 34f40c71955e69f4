"""Pages of the executions in one state, by plain reads whose cost does not grow with them."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from docket.store.connection.pipeline import Argument, Pipeline
from docket.store.connection.retrying import PATIENCE_SECONDS, retry
from docket.store.keys import LAST_ID, WORKER_GROUP, Keys, Stream

#: What waits for a slot of a limit stands in the queue with this time (ms), as in _streams.lua.
NEVER = 253402300800000

#: Rows of a list of those that have ended: more than one of ours ever has; see _records.lua.
_MOST_ROWS = 2_000
#: Digits of a number of microseconds that msgpack, and so a cursor, can hold.
_MOST_DIGITS = 19
#: The streams in the order in which workers read them.
_STREAMS = (Stream.QUARANTINE, Stream.REDELIVERY, Stream.READY)

#: Members of a sorted set that are looked at together, in search of a place.
_SEARCHED = 16

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


class Ranks(NamedTuple):
    """Members of a sorted set: from the rank `first` on, and before `last`."""

    name: str
    first: int
    last: int


class Bounds(NamedTuple):
    """Some entries of a stream: the first and the last id, and how many there are."""

    first: tuple[int, int]
    last: tuple[int, int]
    number: int


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
        """List what is due later, the next first. A position is the score and the key."""
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
        """List the failures that are kept, the newest first. A position is as of `scheduled`."""
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
        rows = await self._read("LRANGE", name, 0, _MOST_ROWS - 1)
        found: list[Found] = []
        is_after = after is None
        for row in rows:
            at, _, rest = row.partition(b" ")
            generation, _, key = rest.partition(b" ")
            if not at.isdigit() or len(at) > _MOST_DIGITS:
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
        return await self._of_streams(after, count, self.unread)

    async def running(self, after: Position | None, count: int, _span: Span) -> list[Found]:
        """List what workers run. A position is the entry."""
        return await self._of_streams(after, count, self.pending)

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

    # Records ------------------------------------------------------------------------------

    async def records(
        self, names: Sequence[bytes], fields: Sequence[str]
    ) -> list[list[bytes | None]]:
        """Read some fields of many records; a record that is none of ours is an empty list."""
        return await self.many([("HMGET", name, *fields) for name in names])

    async def call_lengths(self, names: Sequence[bytes]) -> list[int]:
        """Read the lengths of the stored calls of many records, in bytes; 0 where there is none."""
        return await self.many([("HSTRLEN", name, "call") for name in names])

    async def calls(self, names: Sequence[bytes]) -> dict[bytes, bytes]:
        """Read the stored calls of many records: of those where they are short enough."""
        calls = await self.many([("HGET", name, "call") for name in names])
        return {name: call for name, call in zip(names, calls, strict=True) if call}

    # Extents, for samples -----------------------------------------------------------------

    async def scheduled_ranks(self) -> Ranks:
        """Tell the extent of what is due later."""
        return Ranks(self._keys.queue, 0, await self._count_below(self._keys.queue, NEVER))

    async def waiting_ranks(self) -> Ranks:
        """Tell the extent of what waits for a slot of a limit."""
        queue = self._keys.queue
        return Ranks(queue, await self._count_below(queue, NEVER), await self._size(queue))

    async def failed_ranks(self) -> Ranks:
        """Tell the extent of the failures that are kept."""
        return Ranks(self._keys.failed, 0, await self._size(self._keys.failed))

    async def queued_bounds(self) -> list[tuple[Stream, Bounds]]:
        """Tell the extent of what is ready in each stream that has some."""
        found: list[tuple[Stream, Bounds]] = []
        for stream in _STREAMS:
            name = self._keys.of(stream)
            first = await self.unread(stream, b"", 1)
            last, length, pending = await self.many(
                [
                    ("XREVRANGE", name, "+", "-", "COUNT", 1),
                    ("XLEN", name),
                    ("XPENDING", name, WORKER_GROUP),
                ]
            )
            number = length - (pending[0] if pending else 0)
            if first and last and number > 0:
                found.append((stream, Bounds(entry_id(first[0]), _id(last[0][0]), number)))
        return found

    async def running_bounds(self) -> list[tuple[Stream, Bounds]]:
        """Tell the extent of what runs in each stream that has some."""
        summaries = await self.many(
            [("XPENDING", self._keys.of(stream), WORKER_GROUP) for stream in _STREAMS]
        )
        return [
            (stream, Bounds(_id(summary[1]), _id(summary[2]), summary[0]))
            for stream, summary in zip(_STREAMS, summaries, strict=True)
            if summary and summary[0]
        ]

    # Sorted sets --------------------------------------------------------------------------

    async def ranked(self, ranks: Sequence[Ranks]) -> list[list[Found]]:
        """Read the members of some ranks of sorted sets, in one round trip."""
        rows = await self.many(
            [("ZRANGE", each.name, each.first, each.last - 1, "WITHSCORES") for each in ranks]
        )
        return [
            [Found(key, (score, key)) for key, score in zip(flat[::2], flat[1::2], strict=True)]
            for flat in rows
        ]

    async def _ranked(self, name: str, first: int, last: int) -> list[Found]:
        return (await self.ranked([Ranks(name, first, last)]))[0] if last > first else []

    async def _size(self, name: str) -> int:
        return await self._read("ZCARD", name)

    async def _count_below(self, name: str, score: int | str | None) -> int:
        return 0 if score is None else await self._read("ZCOUNT", name, "-inf", f"({score}")

    async def _rank_after(self, name: str, position: Position) -> int:
        rank = await self._rank(name, position)
        at = await self._read("ZRANGE", name, rank, rank)
        return rank + (at == [position[1]])

    async def _rank(self, name: str, position: Position) -> int:
        """Count the members before a position, which may have left the set since.

        Of the members of one score, in their order, the place is searched for among so many at
        once: round trips take longer than the reads.
        """
        # The score as the server writes it: with a fraction, and somebody else's may be infinite.
        score, member = _bytes(position[0]).decode(), _bytes(position[1])
        low, high = await self.many(
            [("ZCOUNT", name, "-inf", f"({score}"), ("ZCOUNT", name, "-inf", score)]
        )
        while low < high:
            ranks = range(low, high, max(1, (high - low) // _SEARCHED))
            rows = await self.many([("ZRANGE", name, rank, rank) for rank in ranks])
            for rank, at in zip(ranks, rows, strict=True):
                if not at or at[0] >= member:
                    high = rank
                    break
                low = rank + 1
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

    async def unread(self, stream: Stream, beyond: bytes, count: int) -> list[Found]:
        """Read entries of a stream that nobody has claimed, after an id, or from the first on."""
        name = self._keys.of(stream)
        delivered = await self._last_delivered(name)
        start = max(beyond or delivered, delivered, key=_id)
        if start == LAST_ID:
            return []
        rows = await self._read("XRANGE", name, b"(" + start, "+", "COUNT", count)
        return [_found(stream, identity, fields) for identity, fields in rows]

    async def pending(self, stream: Stream, beyond: bytes, count: int) -> list[Found]:
        """Read claimed entries of a stream, after an id, or from the first on."""
        name = self._keys.of(stream)
        if beyond == LAST_ID:
            return []
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
        if not commands:
            return []
        await self._pipeline.connected(PATIENCE_SECONDS)
        # Sent by hand: a task for each of hundreds of reads would cost ten times what they do.
        sent = [self._pipeline.send(*words) for words in commands]
        try:
            # Replies come in order: with the last one all are there. To be told of each, as by
            # gather, would cost as much as the reads.
            await asyncio.wait(sent[-1:])
        except asyncio.CancelledError:
            for each in sent:
                each.cancel()  # or nobody would take note of its error
            raise
        # Looked at before the first is raised: an error that nobody takes note of is logged.
        errors = [each.exception() for each in sent]
        return [
            each.result() if error is None else self._empty(words, error)
            for words, each, error in zip(commands, sent, errors, strict=True)
        ]

    def _empty(self, words: Sequence[Argument], error: BaseException) -> Any:
        """Return what stands for a key that is not there, or raise the error."""
        if isinstance(error, ResponseError) and any(text in str(error) for text in _ABSENT):
            return 0 if words[0] in _NUMBERS else []
        raise self._pipeline.denied(str(words[0]), error) or error


#: Errors about keys that are not there, or of another type.
_ABSENT = ("WRONGTYPE", "NOGROUP", "no such key")
#: Commands that return a number.
_NUMBERS = {"ZCARD", "ZCOUNT", "HLEN", "HSTRLEN", "LLEN", "XLEN"}


def _found(stream: Stream, identity: bytes, fields: Sequence[bytes]) -> Found:
    entry = stream.value.encode() + identity
    return Found(fields[1], (stream.value, identity), entry)


def entry_id(found: Found) -> tuple[int, int]:
    """Return the two numbers of the id of a stream's entry."""
    return _id(found.entry[1:])


def _id(identity: bytes) -> tuple[int, int]:
    milliseconds, _, sequence = identity.partition(b"-")
    return int(milliseconds), int(sequence or 0)


def _bytes(value: int | str | bytes) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _is_within(milliseconds: int, span: Span) -> bool:
    return (span.since is None or milliseconds >= span.since) and (
        span.until is None or milliseconds < span.until
    )
