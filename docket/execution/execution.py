"""The execution of a task: its call, and the state in its record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from docket.annotations import call_format_of, signature_of
from docket.clock import from_microseconds, to_microseconds
from docket.execution import manual
from docket.execution.disposition import Disposition
from docket.execution.events import Event, watch
from docket.execution.progress import BEGUN, NOTHING, ExecutionProgress
from docket.execution.record_fields import instant, microseconds, number, text
from docket.execution.record_fields import state as read_state
from docket.execution.results import wait_for_result
from docket.instrumentation.tracing import context_of
from docket.lifecycle import BY_VALUE, ExecutionState
from docket.log_text import CALL, ends
from docket.store.keys import worker_of
from docket_display.printable import on_one_line

if TYPE_CHECKING:
    from docket.docket import Docket

#: A function that is a task: an async one, or a plain one, which is called in a thread.
TaskFunction: TypeAlias = Callable[..., Any]


class Execution:
    """A task with its arguments, its key and its due time, and the state of its record.

    Made by `Docket.add` and its like, by `Docket.get_execution`, and for each run by a worker.

    Attributes:
        when: its due time.
        attempt: the number of the attempt; 1 for the first.
        state: its state at the last `sync` (or scheduling).
        worker: the name of the worker that ran or runs it.
        started_at, completed_at: instants by the server's clock; None until then.
        error: the text of the failure.
        progress: the progress that the run reported.
        disposition: the result of scheduling it.
        schedule_exception: the reason why scheduling failed, if it did.
        generation: the number of this execution among those of its key.
        message_id: the stream entry of a worker's claim.
    """

    # On the class, since to set all of them would be half of what it takes to make an execution,
    # of which a burst of adds makes thousands.
    state: ExecutionState = ExecutionState.SCHEDULED
    worker: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    error: str | None = None
    result_key: str | None = None
    disposition: Disposition = Disposition.LOADED
    schedule_exception: Exception | None = None
    generation: int = 0
    message_id: str | None = None
    _trace_context: object = None
    _redelivered: bool = False
    _progress: ExecutionProgress | None = None
    #: True if it stands for one claimed run, even when its key is scheduled anew.
    _is_run: bool = False
    #: That of the request which scheduled it, as in its record; None if that is not known.
    _token: str | None = None

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
        self.when = when
        self.attempt = attempt
        # As a rule these are as on the class.
        if trace_context is not None:
            self._trace_context = trace_context
        if redelivered:
            self._redelivered = True
        if generation:
            self.generation = generation
        if message_id is not None:
            self.message_id = message_id

    def __repr__(self) -> str:
        return f"<Execution {self._function_name} key={self._key!r} {self.state.value}>"

    @property
    def docket(self) -> Docket:
        """The docket that it belongs to."""
        return self._docket

    @property
    def function(self) -> TaskFunction:
        """The function of the task."""
        return self._function

    @property
    def function_name(self) -> str:
        """The name of the task; a fallback task has another name of its own."""
        return self._function_name

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments of the call."""
        return self._args

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments of the call."""
        return self._kwargs

    def get_argument(self, name: str) -> Any:
        """Return what the caller passed for a parameter, by position or keyword.

        Args:
            name: the parameter's name; that of `*args` or `**kwargs` gives what it collects.

        Raises:
            KeyError: nothing was passed for it, or there is no such parameter.
            TypeError: the function does not accept this call.
        """
        call = signature_of(self._function).bind_partial(*self._args, **self._kwargs)
        return call.arguments[name]

    @property
    def key(self) -> str:
        """The unique name of the task."""
        return self._key

    @property
    def trace_context(self) -> object:
        """OpenTelemetry's context of the caller that scheduled it."""
        return self._trace_context

    @property
    def redelivered(self) -> bool:
        """Return True if an earlier run of this execution began and did not finish."""
        return self._redelivered

    def call_repr(self) -> str:
        """Return the call as shown in the log, on one line: `send(7, to=...){key}`."""
        return on_one_line(ends(f"{self._call()}{{{self._key}}}", CALL))

    def call_text(self) -> str:
        """Return the call as shown in the log, without its key."""
        return on_one_line(ends(self._call(), CALL))

    def _call(self) -> str:
        try:
            call_format = call_format_of(self._function)
            return call_format(self._function_name, self._args, self._kwargs)
        except BaseException as error:
            # The __repr__ of the arguments is called here: a broken one must not fail the task.
            return f"{self._function_name}(<cannot be shown: {type(error).__name__}>)"

    def general_labels(self) -> dict[str, str]:
        """Return the labels that it shares with all executions of its task."""
        return {"docket.task": self._function_name}

    def specific_labels(self) -> dict[str, str | int]:
        """Return the labels of this very execution."""
        return {
            "docket.task": self._function_name,
            "docket.key": self._key,
            "docket.when": self.when.isoformat(),
            "docket.attempt": self.attempt,
        }

    @property
    def progress(self) -> ExecutionProgress:
        """The progress that was reported of it."""
        if self._progress is None:
            self._progress = ExecutionProgress(self._docket, self._key, self._reporting_run)
            if self.is_active_run:
                self._progress.show(BEGUN)
        return self._progress

    def forget_progress(self) -> None:
        """Show no progress any more, since the run has ended."""
        if self._progress is not None:
            self._progress.show(NOTHING)

    def _reporting_run(self) -> tuple[str, int]:
        return (self.message_id or "", self.generation) if self._is_run else ("", 0)

    async def schedule(
        self,
        replace: bool = False,
        reschedule_message: str | bytes | None = None,
        expected_generation: int = 0,
    ) -> Disposition:
        """Put this execution on the docket, to run at `when`.

        Strikes have no effect here; `Docket.schedule` applies them.

        Args:
            replace: whether it replaces an execution that is scheduled, queued or running under
                its key; if not, that one is kept.
            reschedule_message: the `message_id` of a run of this execution, which is given up and
                waits again, with this `when`, `attempt` and these arguments, in one step; a run
                that belongs to another worker by now stays as it is (SUPERSEDED).
            expected_generation: nothing is done if the key has a newer generation; 0 does not
                check.

        Raises:
            ServerUnavailable: the server is away.
            PayloadTooLarge: the arguments are over the limit.
            UnfitValue: the docket's serializer is msgpack, and an argument does not fit.
            ExecutionCancelled: the run that is to be given up was cancelled meanwhile, which
                ends it.
            TypeError, UnicodeEncodeError: the key is not a str, or cannot be stored.
        """
        scheduler, entry = self._docket.scheduler, reschedule_message
        if entry is None:
            return await scheduler.submit(self, replace, expected_generation)
        return await scheduler.reschedule(
            self, entry.decode() if isinstance(entry, bytes) else entry
        )

    # By hand ------------------------------------------------------------------------------

    async def claim(self, worker: str) -> bool:
        """Mark this execution running if it waits, so that no worker runs it.

        A run that is claimed by hand has no lease, so it is never redelivered. It ends when it is
        marked, rescheduled or replaced.

        Args:
            worker: the name to record as its worker.

        Returns:
            True if the caller has it. If not, it runs elsewhere, has ended, or was replaced.

        Raises:
            ServerUnavailable: the server is away.
        """
        return await manual.claim(self, worker)

    async def mark_as_completed(self, result_key: str | None = None) -> None:
        """Record that it was completed, unless another worker has it by now.

        An execution that still waits ends at once, and is not run any more.

        Args:
            result_key: the key of its result in the docket's result storage.

        Raises:
            ServerUnavailable: the server is away.
        """
        await manual.mark(self, "completed", result_key=result_key)

    async def mark_as_failed(self, error: str | None = None, result_key: str | None = None) -> None:
        """Record that it failed; otherwise as `mark_as_completed`.

        Args:
            error: the reason in words.
            result_key: the key of its exception in the docket's result storage.
        """
        await manual.mark(self, "failed", error, result_key)

    async def mark_as_cancelled(self) -> None:
        """Record that it was cancelled; otherwise as `mark_as_completed`."""
        await manual.mark(self, "cancelled")

    async def is_superseded(self) -> bool:
        """Check for a newer execution of the key; raises as `claim`."""
        if self.generation == 0:
            return False
        return await self._docket.transitions.manual.generation(self._key) > self.generation

    # Its record ---------------------------------------------------------------------------

    async def sync(self) -> None:
        """Read the record: state, worker, instants, error, progress.

        Without a record (never scheduled, or `execution_ttl` has passed) the state is SCHEDULED.
        The record is that of the key's newest execution. A run that was replaced takes over its
        state and remains the same run; any other execution becomes the newest one.
        """
        self.load(await self._docket.transitions.fetch(self._key))

    def load(self, record: Mapping[bytes, bytes]) -> None:
        """Take over the execution's state from a record."""
        self.state = read_state(record.get(b"state", b"scheduled"))
        self.worker = worker_of(text(record.get(b"worker")) or "") or None
        self.started_at = instant(record.get(b"started_at"))
        self.completed_at = instant(record.get(b"completed_at"))
        self.error = text(record.get(b"error"))
        own_key = self._key if b"result" in record else None
        self.result_key = text(record.get(b"result_key")) or own_key
        if b"generation" in record:
            if not self._is_run:
                self.generation = number("generation", record[b"generation"])
                self.message_id = text(record.get(b"entry")) or None
                self._token = text(record.get(b"token"))
            self.attempt = number("attempt", record.get(b"attempt"), 1)
        if b"when" in record:
            self.see_when(microseconds(record[b"when"]))
        self.progress.load(record)

    def mark_running(self, worker_name: str, started_at: int) -> None:
        """Become the run that was just claimed (`started_at` in server microseconds)."""
        self._is_run = True
        self.state = ExecutionState.RUNNING
        self.worker = worker_name
        self.started_at = from_microseconds(started_at)

    @property
    def is_active_run(self) -> bool:
        """Return True for a run that has not ended, which scheduling leaves as it is."""
        return self._is_run and self.state is ExecutionState.RUNNING

    def see_when(self, microseconds: int) -> None:
        """Take over a due time (microseconds), unless it is the one that the caller gave."""
        is_naive = self.when.utcoffset() is None  # Refused only once it is to be scheduled.
        if is_naive or to_microseconds(self.when) != microseconds:
            self.when = from_microseconds(microseconds)

    def take_over(self, generation: int, state: str, token: str | None = None) -> None:
        """Stand for the execution that its key has now; the call and its time stay as given.

        Args:
            token: that of the request which scheduled it; None if it was another's.
        """
        self._is_run, self.message_id = False, None
        self.generation, self._token = generation, token
        self.state = BY_VALUE[state]

    def is_recorded_in(self, record: Mapping[bytes, bytes]) -> bool:
        """Return whether a record is its own, or that of what follows it as a perpetual task.

        Generations alone do not tell: they begin again once a record has expired.
        """
        if self.generation == 0 or b"state" not in record:
            return True
        token, generation = text(record.get(b"token")), int(record.get(b"generation", b"0"))
        if self._token is not None and token is not None and self._token != token:
            # A run that was rescheduled, by hand, has the token of that request.
            earlier = text(record.get(b"tokens")) or ""
            return generation == self.generation and f" {self._token} " in earlier
        if generation == self.generation:
            return True
        return int(record.get(b"perpetual", b"-1")) >= self.generation

    async def get_result(
        self, *, timeout: timedelta | None = None, deadline: datetime | None = None
    ) -> Any:
        """Wait until the execution has ended, and return what the task returned.

        It waits for this very execution, not for a later one of its key. Of a perpetual task the
        last run leaves a result; None is returned once another follows.

        Args:
            timeout: the longest time to wait; None waits for as long as it takes.
            deadline: the latest time to wait until; not together with `timeout`.

        Raises:
            ValueError: both are given.
            TypeError: `timeout` is no timedelta, or `deadline` no timezone-aware datetime.
            TimeoutError: it did not end in time; or the time had passed before the call, and the
                state that was read last, by `sync()` or `get_execution()`, was not its end.
            ExecutionCancelled: it was cancelled.
            ResultUnavailable: it has no record any more, or its key was used again since, so there
                is no result; also a TimeoutError, and with a limit its text begins like that of
                one.
            Exception: the task's own, if it failed.
        """
        return await wait_for_result(self, timeout, deadline)

    def subscribe(self, *, ready: asyncio.Event | None = None) -> AsyncGenerator[Event]:
        """Yield the events of the execution as they happen: its state, and its progress.

        The first events, one of each kind, describe its record. It does not end with the execution,
        but goes on with the next one of the key: leave the loop when you have seen enough. In a
        race an event may come twice, and after a lost connection some may be missing, but never the
        last one.

        Args:
            ready: set once no event from then on can be missed.

        Raises:
            ServerUnavailable: the server is away.
        """
        return watch(self, ready)


def execution_from_record(
    docket: Docket, function: TaskFunction, key: str, record: Mapping[bytes, bytes]
) -> Execution:
    """Make the execution of a record.

    Raises:
        DeserializationError: it is malformed, or its arguments cannot be decoded.
    """
    args, kwargs = docket.serializer.decode_call(function, record.get(b"call", b""))
    execution = Execution(
        docket,
        function,
        args,
        kwargs,
        key,
        from_microseconds(microseconds(record.get(b"when"))),
        number("attempt", record.get(b"attempt")),
        context_of(record.get(b"trace")),
        redelivered=b"from" in record,
        function_name=record.get(b"function", b"").decode(errors="replace"),
    )
    execution.load(record)
    return execution
