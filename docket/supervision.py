"""The interface between a worker and the runtime that supervises its process.

A runtime passes `Worker.run_supervised` an object with these methods, and calls the worker's own
(drain, adopt, appoint_steward...). docket depends on no runtime.
"""

import asyncio
from contextvars import ContextVar
from typing import Any, Protocol

from msgspec import Struct

from docket.backlog import Backlog

#: Blame of an adoption: each task that was running in the dead process counts a death.
EVERYONE = "everyone"
#: Blame of an adoption: the death was no task's fault (a host was lost, the supervisor killed it).
NOBODY = "nobody"

#: Prefix of a blame that names functions, separated by spaces: the death counts for the only task
#: of theirs that was running, or the only one that was running at all; with several, for none.
FUNCTIONS = "functions:"


class Claimed(Protocol):
    """The part of a claim that names its task."""

    @property
    def key(self) -> bytes: ...
    @property
    def function(self) -> bytes: ...


class RunHere(Protocol):
    """The part of a run that the code of its task may ask for."""

    @property
    def claim(self) -> Claimed: ...
    @property
    def execution(self) -> Any: ...


#: The run that code is called by. Set in the context of each run, which is inherited by the asyncio
#: tasks and threads (`asyncio.to_thread`) that it starts.
run_here: ContextVar[RunHere] = ContextVar("docket.run_here")


def task_here() -> tuple[str, str] | None:
    """Return key and function of the task that the caller belongs to; None outside of tasks."""
    run = run_here.get(None)
    if run is None:
        return None
    claim = run.claim
    return claim.key.decode(errors="replace"), claim.function.decode(errors="replace")


class Supervision(Protocol):
    """The reports of a worker. All are made on the worker's loop, except `beat`."""

    def ready(self) -> None:
        """Report that the worker is registered and can claim; repeated after `waiting`."""
        ...

    def waiting(self, reason: str) -> None:
        """Report that the server is away, and that the worker tries to connect."""
        ...

    def redelivered(self, consumer: str, started_at: float) -> None:
        """Report the first claim of a task that a dead consumer ran.

        Args:
            consumer: its name.
            started_at: `time.monotonic()` of the claim.
        """
        ...

    def draining(self) -> None:
        """Report that the worker claims no more."""
        ...

    def backlog(self, backlog: Backlog) -> None:
        """Report what waits on the docket; every two seconds, by the steward."""
        ...

    def beat(self, lag_seconds: float, blocking_key: str | None) -> None:
        """Report that the process lives; called on the heartbeater's THREAD at an interval.

        Args:
            lag_seconds: the silence of the loop beyond its last tick.
            blocking_key: the key of the task that the loop is executing at this moment, if any.
        """
        ...


class Unsupervised:
    """The supervision of a worker without a runtime."""

    def ready(self) -> None:
        """Ignore it: nothing waits for it."""

    def waiting(self, reason: str) -> None:
        """Ignore it: the pipeline has logged it."""

    def redelivered(self, consumer: str, started_at: float) -> None:
        """Ignore it: nothing measures it."""

    def draining(self) -> None:
        """Ignore it: nothing waits for it."""

    def backlog(self, backlog: Backlog) -> None:
        """Ignore it: a scrape asks for itself."""

    def beat(self, lag_seconds: float, blocking_key: str | None) -> None:
        """Ignore it: nothing watches."""


class PoolMember(Struct, frozen=True):
    """The place of a worker in the pool of a runtime, for those who look at workers.

    Attributes:
        supervisor_pid: the process id of the runtime; 0 if it does not say.
        generation: the generation of the code that the worker has loaded.
    """

    supervisor_pid: int
    generation: int


class Adoption(Struct, frozen=True):
    """The result of an adoption.

    Attributes:
        consumer: the dead consumer.
        moved: the number of redelivered tasks.
        poisoned: the keys of tasks that failed because too many processes died under them.
    """

    consumer: str
    moved: int
    poisoned: tuple[str, ...]


class RunningTask(Struct, frozen=True):
    """A running task; `started_at` by `time.monotonic()`, `runs_in` the asyncio task."""

    key: str
    function: str
    started_at: float
    runs_in: asyncio.Task[None] | None = None
