"""The interface through which the pool acts on processes and sockets."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from ipc.messages import ToWorker
from supervisor.pool.state.worker_registry import WorkerProcess


class ProcessUsage(Struct, frozen=True):
    """CPU and descriptors of one worker process; None where unknown."""

    #: Of one core, since the last look.
    cpu_percent: float | None = None
    cpu_seconds: float | None = None
    open_descriptors: int | None = None


class ProcessControl(Protocol):
    """Carry out decisions. No method waits, and none raises for a child that is already gone."""

    def start_nursery(self, generation: int, *, preload: bool) -> int:
        """Exec a nursery and return its pid; OSError if the system has no room for it."""
        ...

    def retire_nursery(self, generation: int) -> None:
        """Tell the nursery to stop forking and to exit after its last worker."""
        ...

    def kill_nursery(self, generation: int) -> None:
        """Kill the nursery with SIGKILL."""
        ...

    def spawn(self, worker: WorkerProcess) -> None:
        """Have the nursery of the worker's generation fork it, with a channel of its own."""
        ...

    def send(self, worker: WorkerProcess, message: ToWorker) -> None:
        """Send the worker a message."""
        ...

    def kill(self, worker: WorkerProcess) -> None:
        """Kill the worker with SIGKILL; if its pid is not known yet, as soon as it is."""
        ...

    def watch_orphan(self, worker: WorkerProcess) -> None:
        """Watch a worker whose nursery died before it could hand its pidfd over."""
        ...

    def dump(self, worker: WorkerProcess) -> None:
        """Have the worker write the stacks of its threads, at C level, for the log."""
        ...

    def dump_nursery(self, generation: int) -> None:
        """Have a nursery that has sent Hello write its stack, for the log."""
        ...

    def release(self, worker: WorkerProcess) -> None:
        """Close what was held for a dead worker."""
        ...

    def usage(self, worker: WorkerProcess) -> ProcessUsage:
        """CPU and descriptors, of about now."""
        ...

    def cpu_seconds_by_slot(self) -> Mapping[int, float]:
        """CPU that all workers of each slot have used, the dead ones too; never falls."""
        ...

    def is_stopped(self, pid: int) -> bool:
        """Return True if it cannot run: stopped by a signal, or in an uninterruptible wait."""
        ...

    def cpu_used_seconds(self, pid: int) -> float | None:
        """The CPU time of the main thread of `pid` since its start; None if unknown."""
        ...

    def cpu_wait_seconds(self, pid: int) -> float | None:
        """The time that `pid` has waited for a CPU since its start; None if unknown."""
        ...
