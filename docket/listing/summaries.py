"""Executions as values to look at, read from their records without running code of anybody's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum

import msgspec

from docket.clock import from_microseconds, microseconds_of
from docket.execution.record_fields import text
from docket.log_text import head
from docket.serialization.display import HIDDEN, arguments_text
from docket.store.keys import PAUSED_SCOPE, worker_of
from docket_display.printable import on_one_line

#: The beginning of what an execution waits for that a pause holds up; the function follows.
PAUSE_OF = "the end of the pause of "
#: Most characters of a call that is shown.
_CALL = 1_000


class ListedState(Enum):
    """The states by which executions are listed.

    They are those of an execution; of the scheduled ones, those that wait for a slot of a limit
    (or for the end of a pause) are listed by themselves.
    """

    RUNNING = "running"
    QUEUED = "queued"
    WAITING = "waiting"
    SCHEDULED = "scheduled"
    FAILED = "failed"
    CANCELLED = "cancelled"
    COMPLETED = "completed"


class ReportedProgress(msgspec.Struct, frozen=True):
    """The progress that a task has reported."""

    current: int
    total: int
    message: str | None


class Predecessor(msgspec.Struct, frozen=True):
    """The execution that was retried, under the same key."""

    generation: int
    state: str
    ended_at: datetime


class Attempt(msgspec.Struct, frozen=True):
    """One run of an execution that did not end well.

    Attributes:
        number: the number of the attempt; a run that was redelivered has that of its successor.
        how: failed, timed out, retried (the task asked for it), handed back, process died, worker
            lost, lease lost.
        worker: the name of its worker.
        started_at, ended_at: by the server's clock.
        error: type and message; None without one.
        traceback: the end of it; None without one.
    """

    number: int
    how: str
    worker: str | None
    started_at: datetime | None
    ended_at: datetime | None
    error: str | None = None
    traceback: str | None = None


class ExecutionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """An execution as it is listed.

    Attributes:
        key: its key.
        function: the name of its task.
        state: its state.
        call: the call as the log shows it: arguments that are not Logged are "...". Under msgpack
            all are shown.
        when: its due time.
        attempt: the number of the attempt that waits, runs or was the last.
        generation: the number of the execution among those of its key.
        worker: the name of the worker that runs it, or ran it.
        started_at, ended_at: of its last run, by the server's clock.
        error: type and message, if it failed.
        deaths: the number of processes that died while they ran it.
        waits_for: the scopes of the limits that it waits for, or the end of a pause.
        progress: what it reported.
        predecessor: the execution that this one is the retry of.
        trace: the trace context of the caller, as it was stored.
        is_perpetual: it is followed by its next run, as those of Perpetual and Cron are.
        last_success_at, last_failure_at: of such a task, the ends of the newest runs before this
            one that succeeded and that failed, by the server's clock; None if there was none, or
            it was forgotten with the record of the task.
    """

    key: str
    function: str
    state: ListedState
    call: str
    when: datetime | None
    attempt: int
    generation: int
    worker: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: str | None = None
    deaths: int = 0
    waits_for: tuple[str, ...] = ()
    progress: ReportedProgress | None = None
    predecessor: Predecessor | None = None
    trace: str | None = None
    is_perpetual: bool = False
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None


class ExecutionDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of the newest execution of a key.

    Attributes:
        summary: the execution.
        attempts: its runs that did not end well, the oldest first, at most twenty; of a retry,
            those of its predecessor come first.
        last_failure: the newest failed execution of the key, if that is an earlier one.
    """

    summary: ExecutionSummary
    attempts: tuple[Attempt, ...]
    last_failure: ExecutionSummary | None = None


Record = Mapping[bytes, bytes]


def summary_of(key: bytes, record: Record, payload: bytes | None = None) -> ExecutionSummary | None:
    """Make the summary of a record; None if it is none of ours.

    Args:
        key: the key.
        record: its fields.
        payload: its call, as far as it is to be shown; by default that of the record.
    """
    state = state_of(record)
    if state is None:
        return None
    return ExecutionSummary(
        key=shown(key),
        function=function_of(record),
        state=state,
        call=_call(record, record.get(b"call") if payload is None else payload),
        when=instant_of(record, "when"),
        attempt=_number(record.get(b"attempt"), 1),
        generation=_number(record.get(b"generation"), 0),
        worker=worker_in(record),
        started_at=instant_of(record, "started_at"),
        ended_at=instant_of(record, "completed_at"),
        error=error_of(record),
        deaths=_number(record.get(b"deaths"), 0),
        waits_for=waits_for(record) if state is ListedState.WAITING else (),
        progress=_progress(record),
        predecessor=_predecessor(record.get(b"predecessor")),
        trace=text(record.get(b"trace")),
        is_perpetual=b"perpetual" in record,
        last_success_at=instant_of(record, "last_success"),
        last_failure_at=instant_of(record, "last_failure"),
    )


def attempts_of(record: Record) -> tuple[Attempt, ...]:
    """Read the log of attempts; rows that are none of ours are left out."""
    log = record.get(b"attempts", b"").decode(errors="replace")
    rows = (row.split("\x1f") for row in log.split("\x1e") if row)
    return tuple(_attempt(row) for row in rows if len(row) >= len(Attempt.__struct_fields__) - 2)


def _attempt(row: list[str]) -> Attempt:
    number, how, worker, started_at, ended_at, *says = [*row, "", ""]
    return Attempt(
        number=_number(number.encode(), 1),
        how=how,
        worker=worker_of(worker) or None,
        started_at=_instant(started_at.encode()),
        ended_at=_instant(ended_at.encode()),
        error=says[0] or None,
        traceback=says[1] or None,
    )


def waits_for(record: Record) -> tuple[str, ...]:
    """Read the scopes of the limits that a scheduled execution waits for; none if it does not."""
    packed = record.get(b"limits")
    if packed is None or record.get(b"state") != b"scheduled":
        return ()
    try:
        limits = msgspec.msgpack.decode(packed)
        if limits["g"].encode() != record.get(b"generation"):
            return ()
        return tuple(_scope(str(scope)) for scope, _ in limits.get("w") or ())
    except (msgspec.MsgspecError, AttributeError, LookupError, TypeError, ValueError):
        return ()  # Somebody else has written it.


def _scope(scope: str) -> str:
    paused = scope.removeprefix(PAUSED_SCOPE)
    return scope if paused == scope else f"{PAUSE_OF}{paused}"


def state_of(record: Record) -> ListedState | None:
    """Read the state; None if it is none of ours."""
    if waits_for(record):
        return ListedState.WAITING
    try:
        return ListedState(record.get(b"state", b"").decode(errors="replace"))
    except ValueError:
        return None


def function_of(record: Record) -> str:
    """Read the name of the function."""
    return shown(record.get(b"function", b""))


def worker_in(record: Record) -> str | None:
    """Read the name of the worker that runs it, or ran it."""
    return worker_of(text(record.get(b"worker")) or "") or None


def error_of(record: Record) -> str | None:
    """Read type and message of the error."""
    return text(record.get(b"error"))


def instant_of(record: Record, field: str) -> datetime | None:
    """Read a field with an instant; None if it is none of ours."""
    return _instant(record.get(field.encode()))


def _call(record: Record, payload: bytes | None) -> str:
    arguments = HIDDEN if payload is None else arguments_text(payload)
    logged = record.get(b"logged")
    if arguments == HIDDEN and logged is not None:
        return head(shown(logged), _CALL)
    return on_one_line(head(f"{shown(record.get(b'function', b''))}({arguments})", _CALL))


def _progress(record: Record) -> ReportedProgress | None:
    if b"progress_total" not in record:
        return None
    return ReportedProgress(
        _number(record.get(b"progress_current"), 0),
        _number(record[b"progress_total"], 100),
        text(record.get(b"progress_message")),
    )


def _predecessor(value: bytes | None) -> Predecessor | None:
    match (value or b"").split(b" "):
        case [generation, ended_at, state]:
            at = _instant(ended_at)
            return at and Predecessor(_number(generation, 0), shown(state), at)
        case _:
            return None


def _instant(value: bytes | None) -> datetime | None:
    try:
        return from_microseconds(microseconds_of(value)) if value else None
    except (ValueError, OverflowError):
        return None


def _number(value: bytes | None, default: int) -> int:
    try:
        return default if value is None else int(value)
    except ValueError:
        return default


def shown(value: bytes) -> str:
    """Decode what somebody else may have written."""
    return value.decode(errors="backslashreplace")
