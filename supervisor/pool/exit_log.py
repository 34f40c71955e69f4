"""Log lines about exits, with their status if it comes in time.

An exit is acted upon when the pidfd shows it; its status is known by the nursery that reaps the
process, some milliseconds later. Only the line waits for that.
"""

from supervisor.grace_periods import EXIT_STATUS_SECONDS
from supervisor.pool.state.exits import WorkerExit
from supervisor.pool.state.pool_state import log


class ExitLog:
    """Log each exit once, with its status or without."""

    def __init__(self) -> None:
        #: pid -> exit, its consequence, and when it was seen.
        self._pending: dict[int, tuple[WorkerExit, str, float]] = {}

    def add(self, worker_exit: WorkerExit, consequence: str, now: float) -> None:
        """Log an exit now if there is nothing to wait for, else soon."""
        if worker_exit.expected:
            log.info("%s ended: %s", worker_exit.worker, worker_exit.reason)
        elif worker_exit.final or worker_exit.pid is None:
            _log(worker_exit, worker_exit.reason, consequence)
        else:
            self._pending[worker_exit.pid] = worker_exit, consequence, now

    def reaped(self, pid: int, reason: str) -> None:
        """Log the exit of that process with its status, if it waits for one."""
        if pid in self._pending:
            worker_exit, consequence, _ = self._pending.pop(pid)
            _log(worker_exit, reason, consequence)

    def tick(self, now: float) -> None:
        """Log the exits without a status that have waited for long enough."""
        for pid, (worker_exit, consequence, seen_at) in list(self._pending.items()):
            if now - seen_at >= EXIT_STATUS_SECONDS:
                del self._pending[pid]
                _log(worker_exit, worker_exit.reason, consequence)


def _log(worker_exit: WorkerExit, reason: str, consequence: str) -> None:
    log.warning("%s died: %s; %s", worker_exit.worker, reason, consequence)
