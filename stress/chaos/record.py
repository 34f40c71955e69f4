"""What was broken, as it happened: one value a fault, for the judge and for the report."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stress.chaos.plan import Fault, Kind
from stress.chaos.processes import send

if TYPE_CHECKING:
    from stress.chaos.hosts import Host


@dataclass(slots=True)
class Broken:
    """A fault that was carried out. Times are monotonic seconds.

    Arguments:
        pids: the processes that it hit.
        struck: when its processes had got their signal; to find them takes its time.
        ended: when it was taken back; None while it lasts.
        skipped: why it was not carried out; then nothing else counts.
    """

    fault: Fault
    began: float
    pids: list[int] = field(default_factory=list[int])
    struck: float | None = None
    ended: float | None = None
    skipped: str | None = None

    @property
    def kind(self) -> Kind:
        """Of the fault."""
        return self.fault.kind

    @property
    def line(self) -> str:
        """What is told of it when it begins."""
        said = self.kind.value
        if self.skipped is not None:
            said = f"skipped: {said} ({self.skipped})"
        return f"{self.fault.at:7.1f} s  {self.fault.target:6}  {said}"

    def strike(self, pids: list[int], number: int) -> None:
        """Send them a signal, and note whom it reached and when."""
        self.pids += send(pids, number)
        self.struck = time.monotonic()


@dataclass(frozen=True, slots=True)
class Rollback:
    """A span, in monotonic seconds, of whose writes the last may be lost.

    From shortly before a primary is lost, for a replica is always a little behind, until no server
    takes writes that the next primary does not have.
    """

    since: float
    until: float


#: Kinds during which the server answers nobody, or takes no writes.
OUTAGES = frozenset(kind for kind in Kind if kind.name.startswith("SERVER"))
#: Kinds whose processes are dead from then on.
KILLS = frozenset(
    {
        Kind.KILL_WORKER,
        Kind.KILL_WORKERS,
        Kind.KILL_NURSERY,
        Kind.KILL_SUPERVISOR,
        Kind.KILL_HOST,
        Kind.KILL_PRODUCER,
    }
)
#: Kinds that stand between a worker and its lease.
FREEZES = frozenset({Kind.STOP_WORKER, Kind.STOP_HOST})
PARTITIONS = frozenset({Kind.NET_HALF_OPEN, Kind.NET_REFUSE, Kind.NET_DELAY})

#: Carries a fault out that begins now, at a host, and returns when it was taken back.
Breaks = Callable[[Broken, "Host"], Awaitable[None]]
