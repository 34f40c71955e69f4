"""The scheduling side: adds made at the same time become one call of the schedule script."""

import asyncio
import os
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from docket.store import scripts
from docket.store.keys import Keys
from docket.store.patience import PATIENCE_SECONDS, patiently
from docket.store.pipeline import Argument, Pipeline

#: Most tasks in one script call, and most payload bytes, so that no call blocks the server.
BATCH_LIMIT = 256
BATCH_BYTES = 4 * 1024 * 1024


class ScheduleRequest(msgspec.Struct, frozen=True):
    """One task to schedule, in the order that schedule.lua reads.

    when: milliseconds since the epoch; None for now, by the server.
    token: names this very request, so that sending it again is harmless.
    expected_generation: a newer one in the record makes this request superseded; 0: no check.
    """

    key: str
    function: str
    call: bytes
    when: int | None
    attempt: int
    token: str
    replace: bool = False
    expected_generation: int = 0
    trace: bytes | None = None

    def arguments(self) -> tuple[Argument, ...]:
        """Its values as schedule.lua reads them."""
        return (
            self.key,
            self.function,
            self.call,
            "" if self.when is None else self.when,
            self.attempt,
            self.token,
            1 if self.replace else 0,
            self.expected_generation,
            self.trace or "",
        )


class Scheduled(msgspec.Struct, frozen=True):
    """What became of a request; `when` in milliseconds."""

    disposition: Literal["scheduled", "already", "superseded", "error"]
    generation: int
    when: int
    state: str


class Scheduling:
    """Schedules tasks of one docket.

    What is pending in one turn of the loop leaves together: a microbatch, never a timer, so that
    a single add waits for nothing.

    Args:
        pipeline: the connection.
        keys: of the docket.
        keeps_records: whether records outlive their execution. If not, a request whose reply was
            lost is not sent again: it could not be told from one that ran already.
    """

    def __init__(self, pipeline: Pipeline, keys: Keys, *, keeps_records: bool) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._keeps_records = keeps_records
        self._streams = (keys.stream, keys.front, keys.suspects, keys.queue, keys.bell)
        self._batch: list[tuple[ScheduleRequest, asyncio.Future[Scheduled]]] = []
        self._flushes: set[asyncio.Task[None]] = set()
        self._token_prefix = os.urandom(8).hex()
        self._tokens = 0

    def token(self) -> str:
        """A name for one schedule request that no other request has."""
        self._tokens += 1
        return f"{self._token_prefix}{self._tokens:x}"

    async def schedule(self, request: ScheduleRequest) -> Scheduled:
        """Schedule one task; requests made in the same turn of the loop share their calls.

        Raises:
            ServerUnavailable: the server stayed away for PATIENCE_SECONDS. A LostReply among
                them says that the request may have taken effect.
        """
        future: asyncio.Future[Scheduled] = asyncio.get_running_loop().create_future()
        if not self._batch:
            asyncio.get_running_loop().call_soon(self._flush)
        self._batch.append((request, future))
        return await future

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        chunk: list[tuple[ScheduleRequest, asyncio.Future[Scheduled]]] = []
        size = 0
        for item in batch:
            if chunk and (len(chunk) == BATCH_LIMIT or size > BATCH_BYTES):
                self._send(chunk)
                chunk, size = [], 0
            chunk.append(item)
            size += len(item[0].call)
        self._send(chunk)

    def _send(self, chunk: list[tuple[ScheduleRequest, asyncio.Future[Scheduled]]]) -> None:
        flush = asyncio.create_task(self._schedule_chunk(chunk), name="docket schedule")
        self._flushes.add(flush)
        flush.add_done_callback(self._flushes.discard)

    async def _schedule_chunk(
        self, chunk: list[tuple[ScheduleRequest, asyncio.Future[Scheduled]]]
    ) -> None:
        try:
            replies = await self.schedule_batch([request for request, _ in chunk])
        except Exception as error:
            for _, future in chunk:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), reply in zip(chunk, replies, strict=True):
            if not future.done():
                future.set_result(reply)

    async def schedule_batch(self, requests: Sequence[ScheduleRequest]) -> list[Scheduled]:
        """Schedule up to BATCH_LIMIT tasks in one call; replies in the order of the requests."""
        keys = [*self._streams, *(self._keys.record(request.key) for request in requests)]
        arguments: list[Argument] = [self._keys.prefix]
        for request in requests:
            arguments.extend(request.arguments())

        async def call() -> list[Any]:
            return await self._pipeline.call(
                scripts.SCHEDULE, keys, arguments, patience_seconds=PATIENCE_SECONDS
            )

        # With no record kept, a second call cannot tell that the first one's task already ran.
        flat = await patiently(call, after_lost_reply=self._keeps_records)
        return [
            Scheduled(flat[i].decode(), flat[i + 1], flat[i + 2], flat[i + 3].decode())
            for i in range(0, len(flat), 4)
        ]
