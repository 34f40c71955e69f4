"""What a worker and the runtime of its process say to each other, as docket sees it.

docket knows no runtime: whoever keeps worker processes alive hands `Worker.run_supervised` an
object of this shape, and calls the worker's own methods (drain, adopt, appoint_steward...).
"""

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

#: Blame of an adoption: each task that was running in the dead process has one death more.
EVERYONE = "everyone"
#: Blame of an adoption: the death was no task's fault (a host was lost, the supervisor killed it).
NOBODY = "nobody"

#: Begins the blame of an adoption for the only task that was running of the functions that follow,
#: separated by spaces, or that was running at all; for nobody if there were several.
FUNCTIONS = "functions:"


class Claimed(Protocol):
    """What is known of a task by its claim."""

    @property
    def key(self) -> bytes: ...
    @property
    def function(self) -> bytes: ...


#: The task that runs here. Set in the context of each run, which the asyncio tasks and the threads
#: (`asyncio.to_thread`) that it starts inherit.
claim_here: ContextVar[Claimed] = ContextVar("docket.claim_here")


def task_here() -> tuple[str, str] | None:
    """Key and function of the task that the caller is a part of; None outside of tasks."""
    claim = claim_here.get(None)
    if claim is None:
        return None
    return claim.key.decode(errors="replace"), claim.function.decode(errors="replace")


def blame_for(key: str) -> str:
    """Blame of an adoption: only the task of this key counts a death (it hung the loop)."""
    return f"key:{key}"


class Supervision(Protocol):
    """What a worker tells the runtime. All are called on the worker's loop, except `beat`."""

    def ready(self) -> None:
        """It holds its connection and is registered: it can claim. Again after `waiting`."""
        ...

    def waiting(self, reason: str) -> None:
        """The server is away; the worker connects again until it is back."""
        ...

    def redelivered(self, consumer: str, started_at: float) -> None:
        """The first task that `consumer` ran before it died was claimed here.

        Args:
            consumer: the dead one.
            started_at: `time.monotonic()` of the start.
        """
        ...

    def draining(self) -> None:
        """The worker claims no more."""
        ...

    def beat(self, lag_seconds: float, culprit: str | None) -> None:
        """Called on the keeper's THREAD, every keeper interval.

        Args:
            lag_seconds: how long the loop has been silent beyond its last tick.
            culprit: key of the task that the loop is in at this moment, if any.
        """
        ...


class Alone:
    """The supervision of a worker that nobody supervises."""

    def ready(self) -> None:
        """Nobody waits for it."""

    def waiting(self, reason: str) -> None:
        """The pipeline has logged it."""

    def redelivered(self, consumer: str, started_at: float) -> None:
        """Nobody measures it."""

    def draining(self) -> None:
        """Nobody waits for it."""

    def beat(self, lag_seconds: float, culprit: str | None) -> None:
        """Nobody watches."""


@dataclass(frozen=True, slots=True)
class Adoption:
    """What an adoption did.

    Attributes:
        consumer: the dead one.
        moved: tasks put to the front for others.
        poisoned: keys of tasks failed, because too many processes died under them.
    """

    consumer: str
    moved: int
    poisoned: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunningTask:
    """A task in flight; `started_at` by `time.monotonic()`, `runs_in` the asyncio task."""

    key: str
    function: str
    started_at: float
    runs_in: asyncio.Task[None] | None = None
