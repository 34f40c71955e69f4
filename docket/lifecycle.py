"""The life of one execution: its states, their transitions, and the outcomes of a run.

This is the only place that defines the transitions. The Lua scripts guard them, docs/lifecycle.md
shows them, and tests compare both with this table.

    scheduled --> queued --> running --> completed | failed | cancelled
        ^            ^          |
        |            |          |   retry with a delay
        +------------|----------+   retry at once, requeue, redelivery
                     +----------+
    scheduled and queued may also be cancelled; a queued one whose function is paused is scheduled
    again, until the pause ends. A key is free again once its execution has ended,
    except that of a perpetual task: its end and the scheduling of its successor are one step.
"""

from datetime import datetime
from enum import Enum
from typing import Self

import msgspec

from docket.clock import delay_microseconds, stored


class ExecutionState(Enum):
    """Lifecycle states of an execution, as stored and as published."""

    SCHEDULED = "scheduled"
    """Waiting in the queue: for its time, a slot of a limit, or the end of a pause."""

    QUEUED = "queued"
    """In a stream, ready to be claimed by a worker."""

    RUNNING = "running"
    """Claimed; a worker executes it and renews its lease."""

    COMPLETED = "completed"
    """Finished; its result is stored."""

    FAILED = "failed"
    """Finished with an exception, which is stored."""

    CANCELLED = "cancelled"
    """Cancelled before it completed, or dropped (stricken)."""


#: States by their values: to call the class for one takes ten times as long.
BY_VALUE: dict[str, ExecutionState] = {state.value: state for state in ExecutionState}

#: States in which a key is taken: `add` of the same key keeps what is there.
LIVE = frozenset({ExecutionState.SCHEDULED, ExecutionState.QUEUED, ExecutionState.RUNNING})

#: States that end an execution.
TERMINAL = frozenset({ExecutionState.COMPLETED, ExecutionState.FAILED, ExecutionState.CANCELLED})

#: The states that may follow a state within one execution.
TRANSITIONS: dict[ExecutionState, frozenset[ExecutionState]] = {
    ExecutionState.SCHEDULED: frozenset({ExecutionState.QUEUED, ExecutionState.CANCELLED}),
    ExecutionState.QUEUED: frozenset(
        {ExecutionState.RUNNING, ExecutionState.SCHEDULED, ExecutionState.CANCELLED}
    ),
    ExecutionState.RUNNING: frozenset(TERMINAL | {ExecutionState.SCHEDULED, ExecutionState.QUEUED}),
    ExecutionState.COMPLETED: frozenset(),
    ExecutionState.FAILED: frozenset(),
    ExecutionState.CANCELLED: frozenset(),
}


class Completed(msgspec.Struct, frozen=True):
    """The task returned.

    result_key: the key of the result in a result storage; None keeps it in the record.
    handled: a handler of the user's has logged the end.
    """

    result: object
    result_key: str | None = None
    handled: bool = False


class Failed(msgspec.Struct, frozen=True):
    """The task raised, and nothing retries it.

    handled: a handler of the user's has dealt with it, and has logged it.
    result_key: the key of the exception in a result storage; None keeps it in the record.
    """

    error: BaseException
    handled: bool = False
    result_key: str | None = None


class Retried(msgspec.Struct, frozen=True):
    """The same execution is to run again.

    delay_seconds: from now by the server's clock; 0 queues it at once.
    attempt: the number of the next attempt (the first is 1).
    args, kwargs: the arguments of the call; None keeps the present ones.
    error: the reason, for the log; None if the task asked for it.
    """

    delay_seconds: float
    attempt: int
    args: tuple[object, ...] | None = None
    kwargs: dict[str, object] | None = None
    error: BaseException | None = None


class DueOrigin(Enum):
    """The instant that a due time counts from, by its letter in _placing.lua."""

    START = "s"
    NOW = "n"
    EPOCH = "e"


class Due(msgspec.Struct, frozen=True):
    """An instant that the store computes by the server's clock.

    value: microseconds from the origin; for EPOCH, the stored form of the instant.
    """

    origin: DueOrigin
    value: int | str

    @classmethod
    def since_start(cls, seconds: float) -> Self:
        """Count seconds from the start of the run."""
        return cls(DueOrigin.START, delay_microseconds(seconds))

    @classmethod
    def from_now(cls, seconds: float) -> Self:
        """Count seconds from the recording of the outcome; negative ones as none."""
        return cls(DueOrigin.NOW, delay_microseconds(seconds))

    @classmethod
    def at(cls, when: datetime) -> Self:
        """Name an aware instant."""
        return cls(DueOrigin.EPOCH, stored(when))


class Successor(msgspec.Struct, frozen=True):
    """The execution that follows a perpetual one under the same key.

    due: its due time; one that has passed is due at once.
    args, kwargs: the arguments of the call; None keeps those of the ended execution.
    schedule: the name of the schedule that made the due time; None if the task chose it.
    """

    due: Due
    args: tuple[object, ...] | None = None
    kwargs: dict[str, object] | None = None
    schedule: str | None = None


class Perpetuated(msgspec.Struct, frozen=True):
    """A perpetual run ended and its successor takes its place, in one step of the store."""

    ended: Completed | Failed
    successor: Successor


class Deferred(msgspec.Struct, frozen=True):
    """The task was not run: it is to be claimed again later, by a worker that can run it.

    delay_seconds: from now by the server's clock.
    """

    delay_seconds: float


class Cancelled(msgspec.Struct, frozen=True):
    """The task was cancelled while it ran, or stricken."""


class Requeued(msgspec.Struct, frozen=True):
    """The run was stopped with its worker: the execution is redelivered to another one."""


class Superseded(msgspec.Struct, frozen=True):
    """The execution belongs to another worker by now: nothing may be recorded for it."""


Outcome = Completed | Failed | Retried | Perpetuated | Deferred | Cancelled | Requeued | Superseded
