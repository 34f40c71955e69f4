"""Scheduling: the way from the call of a task to the request that is sent to the store."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from docket.annotations import shows_arguments
from docket.calls import TaskCall, new_key
from docket.clock import aware, now, stored
from docket.errors import ExecutionCancelled
from docket.execution import Disposition, Execution, TaskFunction
from docket.execution.disposition import BY_NAME
from docket.instrumentation.tracing import carried, is_on, span_of_call
from docket.lifecycle import ExecutionState
from docket.log_text import head
from docket.store.coalescing import Burst, ScheduleReply, ScheduleRequest, Terms
from docket.store.connection.retrying import PATIENCE_SECONDS
from docket.store.keys import check_task_key
from docket.store.manual import RunIdentity

if TYPE_CHECKING:
    from docket.docket import Docket

logger = logging.getLogger("docket.docket")

#: The most characters of a call that are stored to be shown.
CALL_TEXT = 1_000


class _Chunk(NamedTuple):
    """Executions of one chunk that were sent, and what answers them, call by call."""

    sent: list[tuple[Execution, ScheduleRequest]]
    replies: asyncio.Future[list[list[ScheduleReply]]]


class Scheduler:
    """Put executions on one docket.

    Everything that is scheduled passes through here, one task or many, by a caller or by a worker
    that seeds. Only the retry or successor of a run does not: that is an outcome, and part of the
    step that records it.

    Args:
        docket: the docket; it is open while anything is scheduled.
    """

    def __init__(self, docket: Docket) -> None:
        self._docket = docket
        self._strikes = docket.strike_list
        #: Whether the log shows arguments of a task, by its name.
        self._shows: dict[str, bool] = {}
        #: The terms of the last request: mostly those of the next one, which may then share them.
        self._terms = Terms("", 1)
        self._last_terms: tuple[object, ...] = ()

    async def add(
        self,
        function_name: str,
        function: TaskFunction,
        when: datetime | None,
        key: str | None,
        replace: bool,
        /,
        *args: Any,
        **kwargs: Any,
    ) -> Execution:
        """Schedule one call of a task; see Docket.add and Docket.replace."""
        execution = Execution(
            self._docket,
            function,
            args,
            kwargs,
            new_key() if key is None else key,
            now() if when is None else aware("when", when),
            1,
            function_name=function_name,
        )
        if is_on() or not self._strikes.is_loaded:
            await self.schedule(execution, replace, at_once=when is None)
        elif not self._refuse_stricken(execution):
            # Not by way of `schedule` and `submit`: each await counts in a burst of adds.
            present = None if when is None else now()
            request = self._request(execution, replace, present, carried())
            reply = await self._docket.transitions.coalescer.schedule(request)
            self._settle(execution, reply, replace, request.token)
            if execution.schedule_exception is not None:
                raise execution.schedule_exception
        return execution

    async def schedule(
        self,
        execution: Execution,
        replace: bool = False,
        *,
        at_once: bool = False,
        span_name: str | None = None,
    ) -> None:
        """Schedule an execution at its `when`, unless it is stricken.

        Args:
            at_once: whether it is known to be due.
            span_name: the name of the caller's span; by default `docket.add` or `docket.replace`.
        """
        if is_on():
            with _span(execution, span_name or _span_name(replace)):
                await self._wait_for_strikes()
                if not self._refuse_stricken(execution):
                    await self.submit(execution, replace, at_once=at_once)
            return
        if not self._strikes.is_loaded:
            await self._wait_for_strikes()
        if not self._refuse_stricken(execution):
            await self.submit(execution, replace, at_once=at_once)

    async def submit(
        self,
        execution: Execution,
        replace: bool,
        expected_generation: int = 0,
        *,
        at_once: bool = False,
    ) -> Disposition:
        """Schedule an execution, stricken or not; see Execution.schedule."""
        request = self._request(
            execution,
            replace,
            None if at_once else now(),
            carried(execution.trace_context),
            expected_generation,
        )
        reply = await self._docket.transitions.coalescer.schedule(request)
        self._settle(execution, reply, replace, request.token)
        if execution.schedule_exception is not None:
            raise execution.schedule_exception
        return execution.disposition

    async def reschedule(self, execution: Execution, entry: str) -> Disposition:
        """Give up the run of an entry, and let its execution wait again; see Execution.schedule."""
        check_task_key(execution.key)
        done = await self._docket.transitions.manual.reschedule(
            RunIdentity(execution.key, execution.generation, entry),
            stored(aware("when", execution.when)),
            execution.attempt,
            self._encoded_call(execution),
            at_once=execution.when <= now(),
        )
        execution.disposition = BY_NAME[done.disposition]
        if done.disposition == "cancelled":
            execution.state = ExecutionState.CANCELLED
            execution.schedule_exception = ExecutionCancelled(
                f"Execution {execution.key} was cancelled while it ran: it does not wait again"
            )
            raise execution.schedule_exception
        if done.disposition == "scheduled":
            execution.take_over(done.generation, done.state)
        return execution.disposition

    async def seed(self, execution: Execution, schedule_name: str) -> ScheduleReply:
        """Schedule an automatic task, unless its key is taken or its record says it is poison.

        No caller asked for it, so it is linked to no span and is not counted as added.

        Args:
            execution: the automatic task, to run at its first due time.
            schedule_name: the name of the schedule that this time follows from.
        """
        request = self._request(execution, False, now(), carried(execution.trace_context))
        extras = msgspec.msgpack.encode({"timed": schedule_name})
        terms = msgspec.structs.replace(request.terms, extras=extras, perpetual=2)
        seed = msgspec.structs.replace(request, terms=terms)
        return await self._docket.transitions.coalescer.schedule(seed)

    # Many at once -------------------------------------------------------------------------

    async def add_many(
        self, calls: Iterable[TaskCall], chunk_size: int | None, *, replace: bool
    ) -> list[Execution]:
        """Schedule calls, `chunk_size` at a time; see Docket.add_many."""
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
        with span_of_call(f"{_span_name(replace)}_many", self._docket.labels()) as span:
            executions = await self._add_chunks(iter(calls), chunk_size, replace)
            if span is not None:
                stricken = sum(e.disposition is Disposition.STRUCK for e in executions)
                span.set_attribute("docket.batch.count", len(executions))
                span.set_attribute("docket.batch.stricken", stricken)
        return executions

    async def _add_chunks(
        self, calls: Iterator[TaskCall], chunk_size: int | None, replace: bool
    ) -> list[Execution]:
        executions: list[Execution] = []
        under_way: deque[_Chunk] = deque()
        burst = Burst()
        try:
            while chunk := list(islice(calls, chunk_size)):
                if not self._strikes.is_loaded:
                    await self._wait_for_strikes()
                made = self._executions_of(chunk)
                under_way.append(self._send_chunk(made, replace, burst))
                executions += made
                # The server works on one chunk while the next one is made, and has the next one
                # when it is done.
                if len(under_way) == 2:
                    await self._end_chunk(under_way.popleft(), replace)
            while under_way:
                await self._end_chunk(under_way.popleft(), replace)
        except Exception:
            # Of a later chunk: what was sent before it is answered for.
            await asyncio.gather(*(chunk.replies for chunk in under_way), return_exceptions=True)
            raise
        finally:
            for chunk in under_way:
                chunk.replies.cancel()
        return executions

    def _send_chunk(self, executions: list[Execution], replace: bool, burst: Burst) -> _Chunk:
        present, trace = now(), carried()
        # All are encoded before the first is sent: if one cannot be, none of the chunk is sent.
        sent = [
            (execution, self._request(execution, replace, present, trace))
            for execution in executions
            if self._strikes.is_empty or not self._refuse_stricken(execution)
        ]
        coalescer = self._docket.transitions.coalescer
        return _Chunk(sent, coalescer.send_many([request for _, request in sent], burst))

    async def _end_chunk(self, chunk: _Chunk, replace: bool) -> None:
        replies = chain.from_iterable(await chunk.replies)
        for (execution, request), reply in zip(chunk.sent, replies, strict=True):
            self._settle(execution, reply, replace, request.token)

    async def stricken_names(self, calls: Sequence[TaskCall]) -> list[str]:
        """List the names of the stricken tasks among calls."""
        await self._wait_for_strikes()
        if self._strikes.is_empty:
            return []
        executions = self._executions_of(calls)
        return [e.function_name for e in executions if self._strikes.is_stricken(e)]

    def _executions_of(self, calls: Sequence[object]) -> list[Execution]:
        executions: list[Execution] = []
        docket, function, own_name = self._docket, None, ""
        for call in calls:
            if not isinstance(call, TaskCall):
                raise TypeError(
                    f"add_many and replace_many take TaskCalls, not {call!r}: "
                    "write docket.call(function)(...), with the arguments"
                )
            name = call.function_name
            if not name:
                if call.function is not function:
                    function = call.function
                    own_name, _ = docket.resolve(function)
                name = own_name
            executions.append(
                Execution(
                    docket,
                    call.function,
                    call.args,
                    call.kwargs,
                    call.key,
                    call.when,
                    1,
                    function_name=name,
                )
            )
        return executions

    # Strikes ------------------------------------------------------------------------------

    async def _wait_for_strikes(self) -> None:
        """Wait until the strikes are known, but not for ever.

        Raises:
            ServerUnavailable: the server stayed away for PATIENCE_SECONDS.
        """
        if not self._strikes.is_loaded:
            await self._docket.connections.pipeline.connected(PATIENCE_SECONDS)
            # If the server is there and the strikes cannot be read, the call itself will say why.
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._strikes.wait_for_strikes_loaded()

    def _refuse_stricken(self, execution: Execution) -> bool:
        if self._strikes.is_empty or not self._strikes.is_stricken(execution):
            return False
        execution.disposition = Disposition.STRUCK
        self._docket.producer.of(execution.function_name).stricken += 1
        logger.warning(
            "%r is stricken, skipping schedule of %r", execution.function_name, execution.key
        )
        return True

    # Request and reply --------------------------------------------------------------------

    def _request(
        self,
        execution: Execution,
        replace: bool,
        present: datetime | None,
        trace: bytes,
        expected_generation: int = 0,
    ) -> ScheduleRequest:
        """Make the request for an execution.

        Args:
            present: the time by our clock; None if the execution is known to be due.
            trace: the trace context of the caller; empty for none.
        """
        docket, key, name = self._docket, execution.key, execution.function_name
        when = execution.when if present is None else aware("when", execution.when)
        check_task_key(key)
        terms = (
            name,
            # What is past by our clock is due, even if the server's is behind.
            1 if present is None or when <= present else 0,
            execution.attempt,
            1 if replace else 0,
            expected_generation,
            self._extras(execution, trace),
            1 if docket.is_perpetual(name) else 0,
        )
        if terms != self._last_terms:
            self._last_terms, self._terms = terms, Terms(*terms)
        return ScheduleRequest(
            key,
            self._encoded_call(execution),
            stored(when),
            docket.transitions.coalescer.token(),
            self._terms,
        )

    def _extras(self, execution: Execution, trace: bytes) -> bytes | Literal[""]:
        shows = self._shows.get(execution.function_name)
        if shows is None:
            shows = shows_arguments(execution.function)
            self._shows[execution.function_name] = shows
        if not trace and not shows:
            return ""
        # As texts: the unpacker of Lua knows no bytes.
        extras = {"trace": trace.decode()} if trace else {}
        if shows:
            # For whoever lists it later without the code of the task.
            text = head(execution.call_text(), CALL_TEXT)
            extras["logged"] = text.encode(errors="backslashreplace").decode()
        return msgspec.msgpack.encode(extras)

    def _encoded_call(self, execution: Execution) -> bytes:
        return self._docket.serializer.encode_call(
            execution.function, execution.args, execution.kwargs
        )

    def _settle(
        self, execution: Execution, reply: ScheduleReply, replace: bool, token: str
    ) -> None:
        """Take over the reply to a request; a failure is left in `schedule_exception`."""
        execution.disposition = disposition = BY_NAME[reply.disposition]
        if disposition is Disposition.SCHEDULED:
            self._docket.producer.count(execution.function_name, replace=replace)
        elif disposition is Disposition.FAILED:
            execution.schedule_exception = RuntimeError(
                f"Task {execution.key!r} was not scheduled, its record cannot be read: "
                f"{reply.state}"
            )
            return
        elif disposition is Disposition.SUPERSEDED:
            return
        if not execution.is_active_run:
            kept = disposition is Disposition.ALREADY_SCHEDULED
            execution.take_over(reply.generation, reply.state, None if kept else token)


def _span_name(replace: bool) -> str:
    return "docket.replace" if replace else "docket.add"


@contextmanager
def _span(execution: Execution, name: str) -> Generator[None]:
    """Open the span that the execution's run is linked to."""
    attributes = {
        **execution.docket.labels(),
        **execution.specific_labels(),
        "code.function.name": execution.function_name,
    }
    with span_of_call(name, attributes) as span:
        yield
        if span is not None:
            span.set_attribute("docket.disposition", execution.disposition.value)
