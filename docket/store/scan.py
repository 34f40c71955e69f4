"""Scans of a docket's tasks and workers, and the clearing of its waiting tasks."""

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

from msgspec import Struct

from docket.clock import score_milliseconds
from docket.errors import RefusedCall
from docket.store import scripts
from docket.store.connection.pipeline import Argument, Pipeline
from docket.store.connection.retrying import PATIENCE_SECONDS, retry
from docket.store.keys import LAST_ID, Keys, Stream
from docket.store.overwritten_keys import is_of_another_type, log_overwritten
from docket.store.retention import Retention
from docket.worker_process import MOST_BYTES
from docket_display.printable import decoded

#: Stream entries or members of the queue read in one call.
PAGE = 1000
#: Records read in one round trip.
RECORDS_PAGE = 256

#: The places of waiting tasks by their letters in clear.lua, in the order of clearing. The queue is
#: first: a task that becomes due meanwhile is found in the stream.
_PLACES = ("q", *(stream.value for stream in Stream))

#: Every field of a task's record.
Record = dict[bytes, bytes]


class WorkerRow(Struct, frozen=True):
    """A registered consumer.

    last_beat: the time of its last heartbeat, in server milliseconds.
    report: what it tells of its process; b"" for nothing, or more than one would.
    """

    consumer: str
    last_beat: int
    functions: frozenset[str]
    report: bytes = b""


class Scan:
    """A reader of one docket, page by page, so that no call blocks the server for long.

    Args:
        pipeline: the connection.
        keys: the keys of the docket.
    """

    def __init__(self, pipeline: Pipeline, keys: Keys) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._streams = (keys.redelivery, keys.quarantine, keys.stream)

    async def workers(self) -> tuple[int, list[WorkerRow]]:
        """Return the server's time (us), and the registered consumers by their last heartbeats.

        Not in one call: that would take long for a thousand workers with many functions each.
        """
        flat, (seconds, microseconds) = await asyncio.gather(
            self._found([], "ZRANGE", self._keys.workers, 0, -1, "WITHSCORES"),
            self._command("TIME"),
        )
        rows: list[WorkerRow] = []
        for start in range(0, len(flat), 2 * RECORDS_PAGE):
            page = flat[start : start + 2 * RECORDS_PAGE]
            names = [decoded(name) for name in page[::2]]
            beats = map(score_milliseconds, page[1::2])
            known, reports = await asyncio.gather(
                asyncio.gather(*map(self._functions_of, names)),
                asyncio.gather(*map(self._report_of, names)),
            )
            rows += map(WorkerRow, names, beats, known, reports)
        return int(seconds) * 1_000_000 + int(microseconds), rows

    async def _functions_of(self, consumer: str) -> frozenset[str]:
        names: list[bytes] = await self._found([], "SMEMBERS", self._keys.worker_tasks(consumer))
        return frozenset(map(decoded, names))

    async def _report_of(self, consumer: str) -> bytes:
        name = self._keys.worker_info(consumer)
        # First its length: it may be somebody else's, of any size.
        if not 0 < await self._found(0, "HSTRLEN", name, "info") <= MOST_BYTES:
            return b""
        return await self._found(None, "HGET", name, "info") or b""

    async def tasks(self) -> AsyncGenerator[tuple[str, Record]]:
        """Yield the key and record of each task that is scheduled, queued or running, once each.

        The tasks of the streams come first, in order. This is no snapshot: a task that ends or
        begins meanwhile may be included or not.
        """
        keys = await self._task_keys()
        for start in range(0, len(keys), RECORDS_PAGE):
            page = keys[start : start + RECORDS_PAGE]
            records = await asyncio.gather(*(self._record(key) for key in page))
            for key, record in zip(page, records, strict=True):
                yield decoded(key), record

    async def _task_keys(self) -> list[bytes]:
        # The queue before the streams: a task that becomes due meanwhile is seen twice, not missed.
        queued = [key async for key in self._queue()]
        keys = [key for stream in self._streams async for key in self._entries(stream)]
        return list(dict.fromkeys([*keys, *queued]))

    async def _queue(self) -> AsyncGenerator[bytes]:
        cursor = b"0"
        while True:
            cursor, flat = await self._found(
                (b"0", []), "ZSCAN", self._keys.queue, cursor, "COUNT", PAGE
            )
            for key in flat[::2]:
                yield key
            if cursor == b"0":
                return

    async def _entries(self, stream: str) -> AsyncGenerator[bytes]:
        start = b"-"
        while True:
            page = await self._found([], "XRANGE", stream, start, "+", "COUNT", PAGE)
            for _, fields in page:
                yield fields[1]
            if len(page) < PAGE or page[-1][0] == LAST_ID:
                return
            start = b"(" + page[-1][0]

    async def _record(self, key: bytes) -> Record:
        name = self._keys.record_prefix.encode() + key
        flat: list[bytes] = await self._found([], "HGETALL", name)
        return dict(zip(flat[::2], flat[1::2], strict=True))

    async def _found(self, nothing: Any, operation: str, name: str | bytes, *rest: Argument) -> Any:
        """Run a command that reads one key; `nothing` if somebody overwrote it, which is logged."""
        try:
            return await self._command(operation, name, *rest)
        except RefusedCall as error:
            if not is_of_another_type(error):
                raise
            written = name.encode() if isinstance(name, str) else name
            log_overwritten((written, await self._command("TYPE", name)))
            return nothing

    async def _command(self, *command: Argument) -> Any:
        return await retry(
            lambda: self._pipeline.command(*command, patience_seconds=PATIENCE_SECONDS)
        )


async def clear(pipeline: Pipeline, keys: Keys, retention: Retention) -> int:
    """Cancel everything that is scheduled or queued when it begins.

    Returns:
        The number of cancelled tasks.

    Raises:
        ServerUnavailable: the server was away for PATIENCE_SECONDS; some tasks may be cancelled.
    """
    cleared = 0
    for place in _PLACES:
        start, stop = b"", b""
        while True:
            call = partial(_clear_page, pipeline, keys, retention, place, start, stop)
            count, start, stop = await retry(call)
            cleared += count
            if not start:
                break
    return cleared


async def _clear_page(
    pipeline: Pipeline,
    keys: Keys,
    retention: Retention,
    place: str,
    start: bytes,
    stop: bytes,
) -> tuple[int, bytes, bytes]:
    return await pipeline.call(
        scripts.CLEAR,
        keys.places,
        (keys.prefix, retention.argument, place, start, stop),
        patience_seconds=PATIENCE_SECONDS,
    )
