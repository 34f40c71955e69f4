"""The life of one execution: its states, what may follow what, and how a run can end.

This is the only place where the transitions are written down. The Lua scripts guard them,
docs/lifecycle.md shows them, and tests compare both with this table.

    scheduled --> queued --> running --> completed | failed | cancelled
        ^            ^          |
        |            |          |   retry with a delay
        +------------|----------+   retry at once, hand-back, redelivery
                     +----------+
    scheduled and queued may also be cancelled; a key whose execution has ended is free again. That
    of a perpetual one never is: its end and the scheduling of its successor are one step.
"""

from enum import Enum
from typing import Literal, Self

import msgspec

from docket.clock import delay_milliseconds


class ExecutionState(Enum):
    """Lifecycle states of an execution, as stored and as published."""

    SCHEDULED = "scheduled"
    """Waiting in the queue for its time."""

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


#: States in which a key is taken: `add` of the same key keeps what is there.
LIVE = frozenset({ExecutionState.SCHEDULED, ExecutionState.QUEUED, ExecutionState.RUNNING})

#: States that end an execution.
TERMINAL = frozenset({ExecutionState.COMPLETED, ExecutionState.FAILED, ExecutionState.CANCELLED})

#: What may follow a state within one execution.
TRANSITIONS: dict[ExecutionState, frozenset[ExecutionState]] = {
    ExecutionState.SCHEDULED: frozenset({ExecutionState.QUEUED, ExecutionState.CANCELLED}),
    ExecutionState.QUEUED: frozenset({ExecutionState.RUNNING, ExecutionState.CANCELLED}),
    ExecutionState.RUNNING: frozenset(TERMINAL | {ExecutionState.SCHEDULED, ExecutionState.QUEUED}),
    ExecutionState.COMPLETED: frozenset(),
    ExecutionState.FAILED: frozenset(),
    ExecutionState.CANCELLED: frozenset(),
}


class Completed(msgspec.Struct, frozen=True):
    """The task returned.

    result_key: where a result storage has the result; None: the record is to have it.
    """

    result: object
    result_key: str | None = None


class Failed(msgspec.Struct, frozen=True):
    """The task raised, and nothing retries it.

    handled: a handler of the user has taken care of it, so it is no error for the log.
    result_key: where a result storage has the exception; None: the record is to have it.
    """

    error: BaseException
    handled: bool = False
    result_key: str | None = None


class Retried(msgspec.Struct, frozen=True):
    """The same execution is to run again.

    delay_seconds: from now by the server's clock; 0 queues it at once.
    attempt: the number the next attempt carries (the first is 1).
    args, kwargs: what to call it with; None keeps what it had.
    error: why, for the log; None if it was asked for.
    """

    delay_seconds: float
    attempt: int
    args: tuple[object, ...] | None = None
    kwargs: dict[str, object] | None = None
    error: BaseException | None = None


class Due(msgspec.Struct, frozen=True):
    """An instant that the store works out by the server's clock.

    origin: what `milliseconds` counts from: "s" the start of the run, "n" now, "e" the epoch.
    """

    origin: Literal["s", "n", "e"]
    milliseconds: int

    @classmethod
    def since_start(cls, seconds: float) -> Self:
        """So many seconds after the start of the run."""
        return cls("s", delay_milliseconds(seconds))

    @classmethod
    def from_now(cls, seconds: float) -> Self:
        """So many seconds after the outcome is recorded; none if negative."""
        return cls("n", delay_milliseconds(seconds))

    @classmethod
    def at(cls, milliseconds: int) -> Self:
        """A number of milliseconds since the epoch."""
        return cls("e", milliseconds)


class Successor(msgspec.Struct, frozen=True):
    """The execution that follows a perpetual one under the same key.

    due: when; what has passed is due at once.
    args, kwargs: what to call it with; None keeps what the ended one had.
    """

    due: Due
    args: tuple[object, ...] | None = None
    kwargs: dict[str, object] | None = None


class Perpetuated(msgspec.Struct, frozen=True):
    """A perpetual run ended and its successor takes its place, in one step of the store."""

    ended: Completed | Failed
    successor: Successor


class Deferred(msgspec.Struct, frozen=True):
    """Not run at all: the execution is to be claimed again later, by whoever can run it.

    delay_seconds: from now by the server's clock.
    """

    delay_seconds: float


class Cancelled(msgspec.Struct, frozen=True):
    """Someone cancelled it while it ran, or it was stricken."""


class Requeued(msgspec.Struct, frozen=True):
    """Not finished: the worker stops; the execution goes to the front for another one."""


class Superseded(msgspec.Struct, frozen=True):
    """The execution belongs to somebody else by now: nothing may be written for it."""


Outcome = Completed | Failed | Retried | Perpetuated | Deferred | Cancelled | Requeued | Superseded
