"""The end of an execution, read from its record or from a result storage."""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from docket.clock import duration, time_until
from docket.errors import DeserializationError, ExecutionCancelled, ResultUnavailable, TaskError
from docket.execution.record_fields import number, text
from docket.lifecycle import TERMINAL, ExecutionState
from docket.loop_calls import occurs

if TYPE_CHECKING:
    from docket.execution import Execution

#: Seconds after which a caller that waits for a result reads the record without a message: pub/sub
#: may lose the message of the end.
RECHECK_SECONDS = 5.0

#: Minimum time for the round trip of the first read of the record, in seconds, even if the caller
#: allows less.
FIRST_LOOK_SECONDS = 1.0

Record = Mapping[bytes, bytes]


class ResultStorage(Protocol):
    """A store for results and exceptions instead of Redis, by py-key-value-aio's protocol."""

    async def put(self, key: str, value: dict[str, Any], *, ttl: float | None = None) -> Any:
        """Keep `value` under `key` for `ttl` seconds."""
        ...

    async def get(self, key: str) -> dict[str, Any] | None:
        """Return the value of `key`; None if there is none, or none any more."""
        ...


async def wait_for_result(
    execution: Execution, timeout: timedelta | None, deadline: datetime | None
) -> Any:
    """Wait for the end and return the result; see Execution.get_result."""
    allowed = _seconds_allowed(timeout, deadline)
    too_late = f"Timeout waiting for execution {execution.key} to complete"
    # As pydocket has it: who has seen the end reads the result, however little time there is.
    if allowed <= 0 and execution.state not in TERMINAL:
        raise TimeoutError(too_late)
    ends_at = asyncio.get_running_loop().time() + allowed
    try:
        # Read before waiting: a result that is there is returned even if little time is left.
        async with asyncio.timeout(_unless_endless(max(allowed, FIRST_LOOK_SECONDS))):
            record = await execution.docket.transitions.fetch(execution.key)
        waited_for = number("generation", record.get(b"generation"), 0)
        if not _has_ended(execution, record, waited_for):
            async with asyncio.timeout_at(_unless_endless(ends_at)):
                record = await _wait_for_end(execution, waited_for)
    except TimeoutError:
        raise TimeoutError(too_late) from None
    return await _result_of(execution, record, "" if allowed == math.inf else f"{too_late}: ")


def _seconds_allowed(timeout: timedelta | None, deadline: datetime | None) -> float:
    if timeout is not None and deadline is not None:
        raise ValueError("Cannot specify both timeout and deadline: give one of them")
    if deadline is not None:
        return time_until("deadline", deadline).total_seconds()
    return math.inf if timeout is None else duration("timeout", timeout).total_seconds()


def _unless_endless(seconds: float) -> float | None:
    return None if seconds == math.inf else seconds


async def _wait_for_end(execution: Execution, waited_for: int) -> Record:
    changed, docket = asyncio.Event(), execution.docket
    channel = docket.keys.state_channel(execution.key)
    async with docket.connections.subscriber.listening(channel, lambda _: changed.set()):
        while True:
            record = await docket.transitions.fetch(execution.key)
            if _has_ended(execution, record, waited_for):
                return record
            await occurs(changed, RECHECK_SECONDS)
            changed.clear()


def _has_ended(execution: Execution, record: Record, waited_for: int) -> bool:
    if not execution.is_recorded_in(record):
        return True  # It was replaced, or has ended and left nothing.
    execution.load(record)
    if b"state" not in record or execution.state in TERMINAL:
        return True
    # Of a perpetual task the record is the successor's, which may go on for ever.
    return number("predecessor", record.get(b"perpetual"), -1) >= waited_for


async def _result_of(execution: Execution, record: Record, too_late: str) -> Any:
    serializer = execution.docket.serializer
    if not execution.is_recorded_in(record):
        raise ResultUnavailable(
            f"{too_late}The key of task {execution.key!r} was used again, by another call or a "
            "replacement: what this one (generation "
            f"{execution.generation}) ended with cannot be returned"
        )
    if b"state" not in record:
        raise ResultUnavailable(
            f"{too_late}Task {execution.key!r} has no record (execution_ttl has passed, or is 0, "
            "or it was never scheduled): its result cannot be returned"
        )
    match execution.state:
        case ExecutionState.COMPLETED:
            payload = await _payload(execution, record, too_late)
            return serializer.decode_result(execution.function, payload)
        case ExecutionState.FAILED:
            payload = await _payload_or_none(execution, record)
            raise (
                _unrecorded_error(execution)
                if payload is None
                else serializer.decode_error(payload)
            )
        case ExecutionState.CANCELLED:
            raise ExecutionCancelled(f"Execution {execution.key} was cancelled")
        case _:
            return None  # A run of a perpetual task; only the last one leaves a result.


def _unrecorded_error(execution: Execution) -> TaskError:
    """Make the exception of a task that was marked as failed without one."""
    return TaskError("", execution.error or "Task execution failed", "")


async def _payload_or_none(execution: Execution, record: Record) -> bytes | None:
    """Return the exception of a failed task; None if only its text in the record is left."""
    with suppress(ResultUnavailable):
        return await _payload(execution, record, "")
    return None


async def _payload(execution: Execution, record: Record, too_late: str) -> bytes | None:
    stored_under = text(record.get(b"result_key"))
    if stored_under is None:
        return record.get(b"result")
    storage = execution.docket.result_storage
    found = None if storage is None else await storage.get(stored_under)
    if found is None:
        raise ResultUnavailable(
            f"{too_late}The result of task {execution.key!r} is not in the result storage (any "
            f"more), under {stored_under!r}: open the docket with the result_storage that has it"
        )
    try:
        return base64.b64decode(found["data"], validate=True)
    except (KeyError, TypeError, binascii.Error) as error:
        raise DeserializationError(
            f"What the result storage has under {stored_under!r} is no result of this library: "
            f"{type(error).__name__}: {error}"
        ) from error
