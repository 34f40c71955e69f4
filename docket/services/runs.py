"""The runs of one worker: what it has claimed and not yet been acknowledged the outcome of."""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence

from docket.lifecycle import Outcome
from docket.store.connection.lease_connection import Lease
from docket.store.connection.pipeline import LostReply
from docket.store.transitions import Claim
from docket.supervision import RunningTask


class Consumer:
    """Who a worker is to the streams: a name that is never used again, and its epoch.

    Owned by the exchanger, which takes a new name when the old one was struck off.

    Args:
        worker_name: what the name begins with.
    """

    def __init__(self, worker_name: str) -> None:
        self._worker_name = worker_name
        self.epoch = 1
        self.name = ""
        self.renew()

    def renew(self) -> None:
        """Take a new name."""
        self.name = f"{self._worker_name}.{os.urandom(4).hex()}"
        self.epoch = 1


class Run:
    """One claimed task.

    Attributes:
        claim: what was claimed.
        task: the asyncio task that executes it.
        begun: whether that task has had its first step; one that has not can be cancelled
            without ever reporting, so whoever cancels it reports.
        being_admitted: whether the store is asked for its limits, and may end it by itself.
        holds_slots: whether it may hold slots of a concurrency limit.
        ending: the outcome that a cancellation of `task` by us stands for, None if there is none.
        reported: whether its outcome is known (and perhaps not acknowledged yet).
        sent_again: whether its outcome was sent twice, after a lost reply.
        refused: whether the server refused its outcome, which was then made a failure.
        started_at: of the claim, by `time.monotonic()`.
    """

    __slots__ = (
        "begun",
        "being_admitted",
        "claim",
        "ending",
        "holds_slots",
        "refused",
        "reported",
        "sent_again",
        "started_at",
        "task",
    )

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.task: asyncio.Task[None] | None = None
        self.begun = False
        self.being_admitted = False
        self.holds_slots = False
        self.ending: Outcome | None = None
        self.reported = False
        self.sent_again = False
        self.refused = False
        self.started_at = time.monotonic()


class Runs:
    """Runs by entry. The keeper's thread reads `leases`; all else belongs to the loop."""

    def __init__(self) -> None:
        self._by_entry: dict[bytes, Run] = {}
        self._active = 0
        self._active_suspects = 0

    def __len__(self) -> int:
        return len(self._by_entry)

    def __iter__(self) -> Iterator[Run]:
        return iter(tuple(self._by_entry.values()))

    @property
    def active(self) -> int:
        """Runs whose outcome is not known: these hold slots."""
        return self._active

    @property
    def has_suspect(self) -> bool:
        """Whether a task runs here under which a process died before."""
        return self._active_suspects > 0

    def add(self, run: Run) -> None:
        """A task was claimed."""
        self._by_entry[run.claim.entry] = run
        self._active += 1
        if run.claim.deaths:
            self._active_suspects += 1

    def report(self, run: Run) -> None:
        """Its outcome is known: its slot is free, its lease is still held."""
        run.reported = True
        self._active -= 1
        if run.claim.deaths:
            self._active_suspects -= 1

    def remove(self, run: Run) -> None:
        """Its outcome is acknowledged, or somebody else has it."""
        self._by_entry.pop(run.claim.entry, None)

    async def ended(self, patience_seconds: float) -> None:
        """Wait until none is at work any more, or for as long as the patience lasts."""
        tasks = [run.task for run in self if run.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=patience_seconds)

    def get(self, entry: bytes) -> Run | None:
        """The run of an entry."""
        return self._by_entry.get(entry)

    def entries(self) -> list[bytes]:
        """All entries that are known here, outcomes under way included."""
        return list(self._by_entry)

    def functions(self) -> list[bytes]:
        """The function of each active run. Safe from another thread."""
        runs = list(self._by_entry.values())
        return [run.claim.function for run in runs if not run.reported]

    def leases(self) -> list[Lease]:
        """What has to be renewed. Safe from another thread: one copy, made in one step."""
        runs = list(self._by_entry.values())
        return [(run.claim.key, run.claim.entry, run.claim.generation) for run in runs]

    def key_of(self, task: "asyncio.Task[object]") -> str | None:
        """The key of the task that an asyncio task executes. Safe from another thread."""
        for run in list(self._by_entry.values()):
            if run.task is task:
                return run.claim.key.decode(errors="replace")
        return None

    def running_tasks(self) -> list[RunningTask]:
        """The active runs, oldest first."""
        return [
            RunningTask(
                run.claim.key.decode(), run.claim.function.decode(), run.started_at, run.task
            )
            for run in self
            if not run.reported
        ]


def reject_late(claims: Sequence[Claim], asked_at: float, lease_seconds: float) -> None:
    """Refuse claims that took half of their lease to get here.

    This process was stopped, or the reply held up: others may run them by now, or will before the
    keeper has renewed what is left. Earlier than that it renews in time, whatever it is doing.

    Args:
        asked_at: when they were asked for (monotonic seconds).

    Raises:
        LostReply: it counts as such, and what it claimed is claimed anew.
    """
    seconds = time.monotonic() - asked_at
    if claims and seconds > lease_seconds / 2:
        raise LostReply(f"the answer to a claim came after {seconds:.1f} s")
