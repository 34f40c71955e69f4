"""What the pool's decisions are carried out by: everything that touches a process or a socket."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ipc.messages import ToWorker
from supervisor.pool.state.worker_registry import WorkerProcess


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """What one worker process uses; None for what is not known (yet, or any more)."""

    #: Of one core, since the last look.
    cpu_percent: float | None = None
    cpu_seconds: float | None = None
    open_descriptors: int | None = None


class ProcessControl(Protocol):
    """The doing side. No method waits, and none raises for a child that is already gone."""

    def start_nursery(self, generation: int, *, preload: bool) -> int:
        """Exec a nursery; its pid. OSError if the system has no room for it."""
        ...

    def retire_nursery(self, generation: int) -> None:
        """Tell it to fork no more and to end after its last worker."""
        ...

    def kill_nursery(self, generation: int) -> None:
        """SIGKILL it."""
        ...

    def spawn(self, process: WorkerProcess) -> None:
        """Have the nursery of its generation fork it, with a channel of its own."""
        ...

    def tell(self, process: WorkerProcess, message: ToWorker) -> None:
        """Send it a frame."""
        ...

    def kill(self, process: WorkerProcess) -> None:
        """SIGKILL it; if its pid is not known yet, as soon as it is."""
        ...

    def follow(self, process: WorkerProcess) -> None:
        """Its nursery died before it could hand its pidfd over: watch its process from here."""
        ...

    def dump(self, process: WorkerProcess) -> None:
        """Have it write the stacks of its threads, at C level, for the log."""
        ...

    def dump_nursery(self, generation: int) -> None:
        """Have a nursery that has said Hello write its stack, for the log."""
        ...

    def release(self, process: WorkerProcess) -> None:
        """It is dead: close what was held for it."""
        ...

    def usage(self, process: WorkerProcess) -> ProcessUsage:
        """CPU and descriptors, of about now."""
        ...

    def cpu_seconds_by_slot(self) -> Mapping[int, float]:
        """CPU that all workers of each slot have used, the dead ones too; never falls."""
        ...

    def cpu_used_seconds(self, pid: int) -> float | None:
        """How long its main thread has had a CPU since it started, if the kernel tells."""
        ...

    def cpu_wait_seconds(self, pid: int) -> float | None:
        """How long it has waited for a CPU since it started, if the kernel tells."""
        ...
