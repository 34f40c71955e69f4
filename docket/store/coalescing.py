"""Coalescing of schedule requests: those of one turn of the loop share calls of the script."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal

import msgspec
from msgspec.structs import astuple
from redis.exceptions import NoScriptError

from docket.errors import ServerUnavailable
from docket.store import scripts
from docket.store.connection.pipeline import Argument, LostReply, Pipeline
from docket.store.connection.retrying import PATIENCE_SECONDS, retry
from docket.store.keys import Keys
from docket.store.overwritten_keys import MendingPipeline, is_of_another_type
from docket_display.printable import decoded

#: Maximum number of tasks in one script call, and of payload bytes, so that no call blocks the
#: server for long.
BATCH_LIMIT = 256
BATCH_BYTES = 4 * 1024 * 1024
#: Number of adds in one turn of the loop after which they are sent before it ends: small enough for
#: the server to begin early, large enough that a thousand adds cost few round trips.
CHUNK = 128


class Terms(msgspec.Struct, frozen=True, gc=False):
    """The values of a request that are mostly those of its neighbours too: they are sent once.

    at_once: 1 for a task that is due whatever the server's time is.
    replace: 1 or 0.
    expected_generation: a newer one in the record makes the request superseded; 0: no check.
    extras: further fields of the record, as a map in msgpack: `trace` of the caller, `logged`, the
        arguments to show, `timed`, the schedule of an automatic task; "" for none.
    perpetual: 1 for a task that runs again and again; 2 for one that a worker seeds, which does not
        replace the record of a task that is poison.
    """

    function: str
    at_once: Literal[0, 1]
    attempt: int = 1
    replace: Literal[0, 1] = 0
    expected_generation: int = 0
    extras: bytes | Literal[""] = ""
    perpetual: Literal[0, 1, 2] = 0


class ScheduleRequest(msgspec.Struct, frozen=True, gc=False):
    """One task to schedule.

    when: the stored form of the instant; see docket.clock.
    token: identifies the request, so that sending it again is harmless.
    """

    key: str
    call: bytes
    when: int | str
    token: str
    terms: Terms


class ScheduleReply(msgspec.Struct, frozen=True, gc=False):
    """The reply to a request."""

    disposition: Literal["scheduled", "already", "superseded", "error"]
    generation: int
    state: str


_terms = attrgetter("terms")
_values = attrgetter("call", "when", "token")
#: The replies that the script leaves out, by `at_once`: nearly all.
_USUAL = (ScheduleReply("scheduled", 1, "scheduled"), ScheduleReply("scheduled", 1, "queued"))
#: Values of an answer that it does not leave out.
_ANSWER_WIDTH = 4

#: A request and the future of its reply.
Pending = tuple[ScheduleRequest, "asyncio.Future[ScheduleReply]"]


class Burst:
    """Calls of one caller that are sent without waiting, and take effect in their order.

    Attributes:
        last: answers the one that was sent last.
        behind: how many have to be sent again; until they are, the next ones wait for their turn.
    """

    def __init__(self) -> None:
        self.last: asyncio.Task[list[ScheduleReply]] | None = None
        self.behind = 0


class ScheduleCoalescer:
    """Schedule the tasks of one docket.

    The requests of one turn of the loop leave together, without a timer, so that a single add does
    not wait.

    Args:
        pipeline: the connection.
        keys: those of the docket.
        keeps_records: whether the record of an ended execution outlives every attempt to send its
            request again. If not, a request whose reply was lost is not sent again: the script
            could not tell that its task has run already.
    """

    def __init__(self, pipeline: Pipeline, keys: Keys, *, keeps_records: bool) -> None:
        self._pipeline = pipeline
        self._mending = MendingPipeline(pipeline, keys)
        self._keys = keys
        self._keeps_records = keeps_records
        self._batch: list[Pending] = []
        self._batch_bytes = 0
        self._retries: set[asyncio.Task[None]] = set()
        self._token_prefix = os.urandom(8).hex()
        self._tokens = 0

    def token(self) -> str:
        """Make a token that no other request has."""
        self._tokens += 1
        return f"{self._token_prefix}{self._tokens}"

    def schedule(self, request: ScheduleRequest) -> "asyncio.Future[ScheduleReply]":
        """Schedule one task; requests made in the same turn of the loop share their calls.

        Raises:
            ServerUnavailable: the server stayed away for PATIENCE_SECONDS. A LostReply among
                them says that the request may have taken effect.
            TypeError, ValueError: the key cannot be written (a lone surrogate, say).
        """
        # Checked here, where it fails this caller alone: in the batch it would fail the others too.
        key = request.key
        if type(key) is not str or not key.isascii():
            self._keys.record(key).encode()
        loop = asyncio.get_running_loop()
        if loop is not self._pipeline.owner.loop:
            raise self._pipeline.owner.refusal()
        future: asyncio.Future[ScheduleReply] = loop.create_future()
        if not self._batch:
            loop.call_soon(self._flush)
        self._batch.append((request, future))
        self._batch_bytes += len(request.call)
        if len(self._batch) == CHUNK or self._batch_bytes >= BATCH_BYTES:
            # The server begins with these while the loop still makes the rest.
            self._flush()
            self._pipeline.flush()
        return future

    def _flush(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        if not batch:
            return
        if not self._pipeline.is_connected:
            self._schedule_patiently(batch)
            return
        try:
            reply = self._pipeline.send(*self._command([request for request, _ in batch]))
        except (TypeError, ValueError) as error:
            # A value that cannot be sent: raised here, in a callback of the loop, it would be lost.
            _reject(batch, error)
            return
        reply.add_done_callback(lambda reply: self._settle(batch, reply))

    def _settle(self, batch: list[Pending], reply: "asyncio.Future[Any]") -> None:
        error = None if reply.cancelled() else reply.exception()
        if error is None:
            _resolve(batch, _replies([request for request, _ in batch], reply.result()))
        elif self._is_worth_another_call(error):
            self._schedule_patiently(batch)
        else:
            _reject(batch, self._pipeline.denied("schedule", error) or error)

    def _is_worth_another_call(self, error: BaseException) -> bool:
        match error:
            case LostReply():
                # Without a record a second call cannot tell that the task of the first has run.
                return self._keeps_records
            case NoScriptError() | ServerUnavailable():
                return True
            case _:
                return is_of_another_type(error)

    def _schedule_patiently(self, batch: list[Pending]) -> None:
        retry = asyncio.create_task(self._retry(batch), name="docket schedule")
        self._retries.add(retry)
        retry.add_done_callback(self._retries.discard)

    async def _retry(self, batch: list[Pending]) -> None:
        try:
            _resolve(batch, await self.schedule_batch([request for request, _ in batch]))
        except Exception as error:
            _reject(batch, error)

    def send_many(
        self, requests: Sequence[ScheduleRequest], burst: Burst
    ) -> "asyncio.Future[list[list[ScheduleReply]]]":
        """Send any number of requests, in calls that are short for the server; their replies.

        Each call is written at once, so that the server works while the caller makes the next ones.

        Args:
            requests: the requests.
            burst: what was sent before them, and takes effect before them.

        Raises, from the future:
            ServerUnavailable: the server stayed away; some of the tasks may have been scheduled.
        """
        return asyncio.gather(*[self._send_batch(batch, burst) for batch in _batches(requests)])

    def _send_batch(
        self, requests: Sequence[ScheduleRequest], burst: Burst
    ) -> "asyncio.Task[list[ScheduleReply]]":
        sent = None
        if self._pipeline.is_connected and not burst.behind:
            sent = self._pipeline.send(*self._command(requests))
            self._pipeline.flush()
        answered = self._answered(requests, sent, burst, burst.last)
        burst.last = asyncio.create_task(answered, name="docket schedule")
        return burst.last

    async def _answered(
        self,
        requests: Sequence[ScheduleRequest],
        sent: "asyncio.Future[list[Any]] | None",
        burst: Burst,
        before: "asyncio.Task[Any] | None",
    ) -> list[ScheduleReply]:
        if sent is not None:
            try:
                return _replies(requests, await sent)
            except Exception as error:
                if not self._is_worth_another_call(error):
                    denied = self._pipeline.denied("schedule", error)
                    if denied is None:
                        raise
                    raise denied from error
        burst.behind += 1
        try:
            if before is not None:
                # Two of them may have the same key: the one that was written later is to win. What
                # the one before has waited for in vain, this one does not wait for once more.
                await before
            return await self.schedule_batch(requests)
        finally:
            burst.behind -= 1

    async def schedule_batch(self, requests: Sequence[ScheduleRequest]) -> list[ScheduleReply]:
        """Schedule up to BATCH_LIMIT tasks in one call; replies in the order of the requests.

        Raises:
            ServerUnavailable: the server stayed away for PATIENCE_SECONDS.
        """
        keys, arguments = self._keys_of(requests), self._arguments_of(requests)

        async def call() -> list[Any]:
            return await self._mending.call(
                scripts.SCHEDULE, keys, arguments, patience_seconds=PATIENCE_SECONDS
            )

        unusual = await retry(call, after_lost_reply=self._keeps_records)
        return _replies(requests, unusual)

    def _command(self, requests: Sequence[ScheduleRequest]) -> list[Argument]:
        keys = self._keys_of(requests)
        return [
            "EVALSHA",
            self._pipeline.variant(scripts.SCHEDULE).digest,
            len(keys),
            *keys,
            *self._arguments_of(requests),
        ]

    def _keys_of(self, requests: Sequence[ScheduleRequest]) -> list[str]:
        prefix = self._keys.record_prefix
        return [*self._keys.places, *[prefix + request.key for request in requests]]

    def _arguments_of(self, requests: Sequence[ScheduleRequest]) -> list[Argument]:
        arguments: list[Argument] = [self._keys.prefix]
        for terms, group in groupby(requests, _terms):
            values = [value for request in group for value in _values(request)]
            arguments += (len(values) // 3, *astuple(terms), *values)
        return arguments


def _replies(requests: Sequence[ScheduleRequest], unusual: list[Any]) -> list[ScheduleReply]:
    replies = [_USUAL[request.terms.at_once] for request in requests]
    for index, disposition, generation, state in zip(*[iter(unusual)] * _ANSWER_WIDTH, strict=True):
        replies[index] = ScheduleReply(disposition.decode(), generation, decoded(state))
    return replies


def _resolve(batch: list[Pending], replies: list[ScheduleReply]) -> None:
    for (_, future), reply in zip(batch, replies, strict=True):
        if not future.done():
            future.set_result(reply)


def _reject(batch: list[Pending], error: BaseException) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)


def _batches(requests: Sequence[ScheduleRequest]) -> Iterator[list[ScheduleRequest]]:
    batch: list[ScheduleRequest] = []
    size = 0
    for request in requests:
        batch.append(request)
        size += len(request.call)
        if len(batch) == BATCH_LIMIT or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
