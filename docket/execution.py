"""One execution of a task: what it is called with, and what its record says of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from docket.clock import from_milliseconds, now, to_milliseconds
from docket.codec import decode_call, decode_error, decode_result, encode_call
from docket.errors import ExecutionCancelled, ResultUnavailable
from docket.lifecycle import TERMINAL, ExecutionState
from docket.store.keys import check_task_key, worker_of
from docket.store.scheduling import Scheduled, ScheduleRequest

if TYPE_CHECKING:
    from docket.docket import Docket

__all__ = [
    "Disposition",
    "Execution",
    "ExecutionCancelled",
    "ExecutionProgress",
    "ExecutionState",
    "TaskFunction",
]

TaskFunction: TypeAlias = Callable[..., Awaitable[Any]]

#: How often someone who waits for a result looks at the record without being told to, in seconds:
#: pub/sub may lose the message that says it is there.
RECHECK_SECONDS = 5.0


class Disposition(Enum):
    """What became of an attempt to schedule an execution."""

    LOADED = "loaded"
    """It was read from the docket, not scheduled by this call."""
    SCHEDULED = "scheduled"
    """It is on the docket now."""
    ALREADY_SCHEDULED = "already_scheduled"
    """Its key was taken: what was there was kept."""
    STRUCK = "struck"
    """It is stricken and was not scheduled."""
    SUPERSEDED = "superseded"
    """A newer execution of its key exists."""
    FAILED = "failed"
    """It could not be scheduled; `schedule_exception` says why."""


#: What the store calls otherwise.
_DISPOSITIONS = {"already": Disposition.ALREADY_SCHEDULED, "error": Disposition.FAILED}


def _instant(value: bytes | None) -> datetime | None:
    return from_milliseconds(int(value)) if value else None


def _text(value: bytes | None) -> str | None:
    return value.decode(errors="replace") if value is not None else None


class ExecutionProgress:
    """How far an execution is, as its record says.

    Attributes:
        current: how much is done; None before the first report.
        total: how much there is to do.
        message: a status in words, if one was set.
        updated_at: when something was reported last.
    """

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self.current: int | None = None
        self.total: int = 100
        self.message: str | None = None
        self.updated_at: datetime | None = None

    async def set_total(self, total: int) -> None:
        """Say how much there is to do. Raises ValueError if it is less than 1."""
        if total < 1:
            raise ValueError(f"The total of a progress must be at least 1, not {total}")
        await self._report("total", total)

    async def increment(self, amount: int = 1) -> None:
        """Say that so much more is done. Raises ValueError if it is less than 1."""
        if amount < 1:
            raise ValueError(f"A progress can only be incremented by 1 or more, not {amount}")
        await self._report("increment", amount)

    async def set_message(self, message: str | None) -> None:
        """Say in words what is going on; None removes it."""
        await self._report("message", message or "")

    async def sync(self) -> None:
        """Read what the record says."""
        await self._execution.sync()

    def load(self, record: Mapping[bytes, bytes]) -> None:
        """Take the values from the fields of a record."""
        current = record.get(b"progress_current")
        self.current = int(current) if current is not None else None
        self.total = int(record.get(b"progress_total", b"100"))
        self.message = _text(record.get(b"progress_message"))
        self.updated_at = _instant(record.get(b"progress_updated_at"))

    async def _report(self, operation: str, value: str | int) -> None:
        execution = self._execution
        row = await execution.docket.records.report_progress(
            execution.key,
            execution.message_id or "",
            execution.generation,
            operation,
            value,
        )
        if row is None:
            return  # A newer execution has the record: this one reports to nobody.
        self.current, self.total, self.message = row.current, row.total, row.message
        self.updated_at = from_milliseconds(row.updated_at)


class Execution:
    """A task with its arguments, its key and its time, and the state of its record.

    Made by `Docket.add` and its like, by `Docket.get_execution`, and for each run by a worker.

    Attributes:
        when: the instant it is due.
        attempt: 1 for the first.
        state: as of the last `sync` (or scheduling).
        worker: name of the worker that ran or runs it.
        started_at, completed_at: instants by the server's clock, None until then.
        error: text of the failure.
        progress: what the run reported of itself.
        disposition: what became of the scheduling.
        schedule_exception: why scheduling failed, if it did.
        generation: counts the executions of this key.
        message_id: the stream entry that a worker claimed it by.
    """

    def __init__(
        self,
        docket: Docket,
        function: TaskFunction,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        key: str,
        when: datetime,
        attempt: int,
        trace_context: object = None,
        redelivered: bool = False,
        function_name: str | None = None,
        generation: int = 0,
        message_id: str | None = None,
    ) -> None:
        self._docket = docket
        self._function = function
        self._function_name: str = function_name or function.__name__
        self._args = args
        self._kwargs = kwargs
        self._key = key
        self._trace_context = trace_context
        self._redelivered = redelivered
        self._progress: ExecutionProgress | None = None
        self.when = when
        self.attempt = attempt
        self.generation = generation
        self.message_id = message_id
        self.state: ExecutionState | None = ExecutionState.SCHEDULED
        self.worker: str | None = None
        self.started_at: datetime | None = None
        self.completed_at: datetime | None = None
        self.error: str | None = None
        self.result_key: str | None = None
        self.disposition = Disposition.LOADED
        self.schedule_exception: Exception | None = None

    def __repr__(self) -> str:
        state = self.state.value if self.state else "unknown"
        return f"<Execution {self._function_name} key={self._key!r} {state}>"

    @property
    def docket(self) -> Docket:
        """The docket it belongs to."""
        return self._docket

    @property
    def function(self) -> TaskFunction:
        """What it calls."""
        return self._function

    @property
    def function_name(self) -> str:
        """The name it was scheduled under; a fallback task's own name may differ."""
        return self._function_name

    @property
    def args(self) -> tuple[Any, ...]:
        """Positional arguments."""
        return self._args

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments."""
        return self._kwargs

    @property
    def key(self) -> str:
        """The unique name of the task."""
        return self._key

    @property
    def trace_context(self) -> object:
        """OpenTelemetry's context of whoever scheduled it."""
        return self._trace_context

    @property
    def redelivered(self) -> bool:
        """Whether a run of this execution was begun before and not finished."""
        return self._redelivered

    @property
    def progress(self) -> ExecutionProgress:
        """What the run reported of itself."""
        if self._progress is None:
            self._progress = ExecutionProgress(self)
        return self._progress

    async def schedule(
        self, replace: bool = False, *, due: datetime | None = None, expected_generation: int = 0
    ) -> Disposition:
        """Put this execution on the docket.

        Args:
            replace: whether it takes the place of what is scheduled, queued or running under its
                key; if not, what is there is kept.
            due: when; None for now, by the server's clock.
            expected_generation: if the key has a newer generation than this, nothing is done; 0
                does not look.

        Raises:
            ServerUnavailable: the server is away.
            PayloadTooLarge: the arguments are over the limit.
            TypeError, UnicodeEncodeError: the key is no text, or none that can be stored.
        """
        request = self.request(replace, due, expected_generation)
        self.take_over(await self._docket.records.scheduling.schedule(request))
        if self.schedule_exception is not None:
            raise self.schedule_exception
        return self.disposition

    def request(
        self, replace: bool, due: datetime | None, expected_generation: int = 0
    ) -> ScheduleRequest:
        """What `schedule` asks of the store, for those who ask for many at once; raises as it."""
        check_task_key(self._key)
        return ScheduleRequest(
            key=self._key,
            function=self._function_name,
            call=encode_call(self._args, self._kwargs),
            when="" if due is None else to_milliseconds(due),
            attempt=self.attempt,
            token=self._docket.records.scheduling.token(),
            replace=1 if replace else 0,
            expected_generation=expected_generation,
            perpetual=1 if self._docket.is_perpetual(self._function_name) else 0,
        )

    def take_over(self, scheduled: Scheduled) -> None:
        """Take over what became of the request; a failure is left in `schedule_exception`."""
        told = scheduled.disposition
        self.disposition = _DISPOSITIONS.get(told) or Disposition(told)
        if self.disposition is Disposition.FAILED:
            self.schedule_exception = RuntimeError(
                f"Task {self._key!r} was not scheduled, its record cannot be read: "
                f"{scheduled.state}"
            )
            return
        self.generation = scheduled.generation
        if scheduled.when:
            self.when = from_milliseconds(scheduled.when)
        self.state = ExecutionState(scheduled.state) if scheduled.state else None

    async def sync(self) -> None:
        """Read the record: state, worker, instants, error, progress. `state` None: no record."""
        self.load(await self._docket.records.fetch(self._key))

    def load(self, record: Mapping[bytes, bytes]) -> None:
        """Take everything that a record says of the execution's state."""
        state = _text(record.get(b"state"))
        self.state = ExecutionState(state) if state else None
        self.worker = worker_of(_text(record.get(b"worker")) or "") or None
        self.started_at = _instant(record.get(b"started_at"))
        self.completed_at = _instant(record.get(b"completed_at"))
        self.error = _text(record.get(b"error"))
        self.result_key = self._key if b"result" in record else None
        if b"generation" in record:
            self.generation = int(record[b"generation"])
            self.attempt = int(record.get(b"attempt", b"1"))
            self.when = _instant(record.get(b"when")) or self.when
        self.progress.load(record)

    def mark_running(self, worker_name: str, started_at: int) -> None:
        """Take over what a claim has just written (`started_at` in server milliseconds)."""
        self.state = ExecutionState.RUNNING
        self.worker = worker_name
        self.started_at = from_milliseconds(started_at)

    async def get_result(
        self, *, timeout: timedelta | None = None, deadline: datetime | None = None
    ) -> Any:
        """Wait until the execution has ended, and return what the task returned.

        Args:
            timeout: how long to wait at most; None for as long as it takes.
            deadline: until when to wait at most; not together with `timeout`.

        Raises:
            ValueError: both are given.
            TimeoutError: it did not end in time.
            ExecutionCancelled: it was cancelled.
            ResultUnavailable: it has no record any more, so there will be no result.
            Exception: the task's own, if it failed.
        """
        if timeout is not None and deadline is not None:
            raise ValueError("Cannot specify both timeout and deadline: give one of them")
        if deadline is not None:
            timeout = deadline.astimezone(UTC) - now()
        # Looks before it waits: what has ended is returned however short the time.
        record = await self._docket.records.fetch(self._key)
        if not self._has_ended(record):
            try:
                async with asyncio.timeout(None if timeout is None else timeout.total_seconds()):
                    record = await self._wait_for_end()
            except TimeoutError:
                raise TimeoutError(
                    f"Task {self._key!r} did not end within the time allowed"
                ) from None
        return self._result_of(record)

    async def _wait_for_end(self) -> Mapping[bytes, bytes]:
        changed = asyncio.Event()
        channel = self._docket.keys.state_channel(self._key)
        async with self._docket.connections.subscriber.listening(channel, lambda _: changed.set()):
            while True:
                record = await self._docket.records.fetch(self._key)
                if self._has_ended(record):
                    return record
                with suppress(TimeoutError):
                    async with asyncio.timeout(RECHECK_SECONDS):
                        await changed.wait()
                changed.clear()

    def _has_ended(self, record: Mapping[bytes, bytes]) -> bool:
        self.load(record)
        return self.state is None or self.state in TERMINAL

    def _result_of(self, record: Mapping[bytes, bytes]) -> Any:
        match self.state:
            case ExecutionState.COMPLETED:
                return decode_result(record.get(b"result"))
            case ExecutionState.FAILED:
                raise decode_error(record.get(b"result"))
            case ExecutionState.CANCELLED:
                raise ExecutionCancelled(f"Task {self._key!r} was cancelled: it has no result")
            case _:
                raise ResultUnavailable(
                    f"Task {self._key!r} has no record (execution_ttl has passed, or is 0, or it "
                    "was never scheduled): its result cannot be returned"
                )


def execution_from_record(
    docket: Docket, function: TaskFunction, key: str, record: Mapping[bytes, bytes]
) -> Execution:
    """The execution that a record describes.

    Raises:
        DeserializationError: its arguments cannot be read back.
    """
    args, kwargs = decode_call(record[b"call"])
    execution = Execution(
        docket,
        function,
        args,
        kwargs,
        key,
        from_milliseconds(int(record[b"when"])),
        int(record[b"attempt"]),
        redelivered=b"from" in record,
        function_name=record[b"function"].decode(),
        message_id=_text(record.get(b"entry")),
    )
    execution.load(record)
    return execution
