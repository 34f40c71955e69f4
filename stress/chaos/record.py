"""Records of a run: injected faults, ends of tasks, and spans whose writes may be lost."""

import time
from dataclasses import dataclass, field

from stress.chaos.plan import Fault, Kind
from stress.processes import send


@dataclass(slots=True)
class InjectedFault:
    """A fault that was carried out. Times are monotonic seconds.

    Arguments:
        pids: the processes that it hit.
        signalled: when these had got their signal; to find them takes its time.
        ended: when it was taken back; None while it lasts.
        skipped: the reason why it was not carried out; then nothing else counts.
    """

    fault: Fault
    began: float
    pids: list[int] = field(default_factory=list[int])
    signalled: float | None = None
    ended: float | None = None
    skipped: str | None = None

    @property
    def kind(self) -> Kind:
        """The kind of the fault."""
        return self.fault.kind

    @property
    def took_effect(self) -> float:
        """The time of its signals, or of its beginning if it has none."""
        return self.began if self.signalled is None else self.signalled

    @property
    def line(self) -> str:
        """The line that announces it."""
        said = self.kind.value
        if self.skipped is not None:
            said = f"skipped: {said} ({self.skipped})"
        return f"{self.fault.at:7.1f} s  {self.fault.target:6}  {said}"

    def signal(self, pids: list[int], number: int) -> None:
        """Send a signal, and note the processes that it reached and the time."""
        self.pids += send(pids, number)
        self.signalled = time.monotonic()


@dataclass(frozen=True, slots=True)
class End:
    """The end of a task. `at`: when it was seen. generation: how many executions its key had."""

    key: str
    state: str
    error: str
    at: float
    generation: int = 1


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
#: Kinds that stop a process, and so keep a worker from renewing its leases.
FREEZES = frozenset({Kind.STOP_WORKER, Kind.STOP_HOST})
#: Kinds that cut a host off, with the same effect.
PARTITIONS = frozenset({Kind.NET_HALF_OPEN, Kind.NET_REFUSE, Kind.NET_DELAY})
