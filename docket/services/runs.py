"""The runs of one worker: claimed tasks whose outcome is not acknowledged yet."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from docket.instrumentation.counters import Counters
from docket.lifecycle import Outcome
from docket.store.claims import Claim
from docket.store.connection.lease_connection import Lease
from docket.store.connection.pipeline import LostReply
from docket.supervision import RunningTask

if TYPE_CHECKING:
    from docket.execution import Execution


class Consumer:
    """The identity of a worker in the streams: a name that is never reused, and its epoch.

    Owned by the exchanger, which takes a new name when the old one was fenced.

    Args:
        worker_name: the first part of the name.
    """

    def __init__(self, worker_name: str) -> None:
        self._worker_name = worker_name
        self.epoch = 1
        self.name = ""
        self.take_new_name()

    def take_new_name(self) -> None:
        """Take a name that no worker had, and begin at its first epoch."""
        self.name = f"{self._worker_name}.{os.urandom(4).hex()}"
        self.epoch = 1


class ThreadWork(Protocol):
    """A call in a thread."""

    @property
    def thread_id(self) -> int | None:
        """The identifier of the thread while the call lasts."""
        ...


class Run:
    """One claimed task.

    Attributes:
        claim: the claimed task.
        counters: those of its task.
        task: the asyncio task that executes it.
        begun: whether that task has had its first step; before that a cancellation ends it without
            a report, so the canceller has to report.
        being_admitted: whether the store is being asked for its limits, and may end it by itself.
        holds_slots: whether it may hold slots of a concurrency limit.
        ending: the outcome of a cancellation of `task` by us; None without one.
        reported: whether its outcome is known, though perhaps not acknowledged yet.
        sent_again: whether its outcome was sent twice, after a lost reply.
        refused: whether the server refused its outcome, which was then made a failure.
        followed: the run and its duration for the line about its successor, which is logged once
            the outcome is recorded; None for no such line.
        started_at: the instant of the claim, by `time.monotonic()`.
        is_suspect: whether it has not outlived yet what its process died of before.
        in_threads: the calls in threads that are not over, by their futures.
        unmade_execution: what makes its execution, and the arguments of that; None if it is made
            already, or cannot be. Every task may ask for its execution, and few do.
    """

    __slots__ = (
        "_execution",
        "begun",
        "being_admitted",
        "claim",
        "counters",
        "ending",
        "followed",
        "holds_slots",
        "in_threads",
        "is_suspect",
        "refused",
        "reported",
        "sent_again",
        "started_at",
        "task",
        "unmade_execution",
    )

    def __init__(self, claim: Claim, counters: Counters) -> None:
        self.claim = claim
        self.counters = counters
        self.task: asyncio.Task[None] | None = None
        self.begun = False
        self.being_admitted = False
        self.holds_slots = False
        self.ending: Outcome | None = None
        self.reported = False
        self.sent_again = False
        self.refused = False
        self.followed: str | None = None
        self.started_at = time.monotonic()
        self.is_suspect = claim.suspect_seconds > 0
        self.in_threads: dict[Future[Any], ThreadWork] = {}
        self.unmade_execution: tuple[Any, ...] | None = None
        self._execution: Execution | None = None

    @property
    def execution(self) -> Execution | None:
        """Its execution, made when it is first asked for."""
        if self.unmade_execution is not None:
            make, *arguments = self.unmade_execution
            self.unmade_execution, self._execution = None, make(*arguments)
        return self._execution

    @execution.setter
    def execution(self, execution: Execution) -> None:
        self._execution = execution


class Runs:
    """Runs by entry. The heartbeater's thread reads `leases`; all else belongs to the loop."""

    def __init__(self) -> None:
        self._by_entry: dict[bytes, Run] = {}
        self._active = 0
        self._suspects = 0

    def __len__(self) -> int:
        return len(self._by_entry)

    def __iter__(self) -> Iterator[Run]:
        return iter(tuple(self._by_entry.values()))

    @property
    def active(self) -> int:
        """The number of runs without an outcome, each of which takes up a slot."""
        return self._active

    @property
    def has_suspect(self) -> bool:
        """Return True while a run here may end like one that its process died under."""
        return self._suspects > 0

    def add(self, run: Run) -> None:
        """Add the run of a task that was claimed."""
        self._by_entry[run.claim.entry] = run
        self._active += 1
        self._suspects += run.is_suspect

    def report(self, run: Run) -> None:
        """Free the slot of a run whose outcome is known; its lease is still held."""
        run.reported = True
        self._active -= 1
        if run.is_suspect:
            self.acquit(run)

    def acquit(self, run: Run) -> None:
        """Suspect a run no longer. Idempotent."""
        self._suspects -= run.is_suspect
        run.is_suspect = False

    def remove(self, run: Run) -> None:
        """Remove a run whose outcome is acknowledged, or that belongs to another worker."""
        self._by_entry.pop(run.claim.entry, None)

    @property
    def in_threads(self) -> bool:
        """Return True while a run without an outcome is at work in a thread."""
        return any(run.in_threads for run in self if not run.reported)

    async def ended(self, patience_seconds: float, *, outlast_threads: bool) -> None:
        """Wait until all tasks have ended, but not longer than the patience.

        Args:
            patience_seconds: the longest wait.
            outlast_threads: whether those that are at work in threads are waited for in any case.
        """
        while tasks := [run.task for run in self if run.task is not None and not run.task.done()]:
            _, left = await asyncio.wait(tasks, timeout=patience_seconds)
            if left and not (outlast_threads and self.in_threads):
                return

    def get(self, entry: bytes) -> Run | None:
        """Return the run of an entry, if there is one."""
        return self._by_entry.get(entry)

    def entries(self) -> list[bytes]:
        """List all entries that are known here, including those with an outcome under way."""
        return list(self._by_entry)

    def functions(self) -> list[bytes]:
        """List the function of each active run. Safe from another thread."""
        runs = list(self._by_entry.values())
        return [run.claim.function for run in runs if not run.reported]

    def leases(self) -> list[Lease]:
        """List the leases to renew. Safe from another thread: it is copied in one step."""
        runs = list(self._by_entry.values())
        return [(run.claim.key, run.claim.entry, run.claim.generation) for run in runs]

    def key_of(self, task: asyncio.Task[object]) -> str | None:
        """Return the key of the task that an asyncio task executes. Safe from another thread."""
        for run in list(self._by_entry.values()):
            if run.task is task:
                return run.claim.key.decode(errors="replace")
        return None

    def running_tasks(self) -> list[RunningTask]:
        """List the active runs, oldest first."""
        return [
            RunningTask(
                run.claim.key.decode(), run.claim.function.decode(), run.started_at, run.task
            )
            for run in self
            if not run.reported
        ]


def reject_late(claims: Sequence[Claim], asked_at: float, lease_seconds: float) -> None:
    """Refuse claims that took half of their lease to arrive.

    This process was stopped, or the reply delayed: others may run the tasks by now, or will before
    the heartbeater has renewed the leases. Within half a lease it always renews in time.

    Args:
        asked_at: the time of the request (monotonic seconds).

    Raises:
        LostReply: the reply counts as lost, and its tasks are claimed again.
    """
    seconds = time.monotonic() - asked_at
    if claims and seconds > lease_seconds / 2:
        raise LostReply(f"the answer to a claim came after {seconds:.1f} s")
