"""Log lines about deaths, with how they died if that can be told in time.

A death is acted upon when the pidfd says so; how it came about is known by the nursery that reaps
the process, some milliseconds later. Only the line waits for that.
"""

from dataclasses import dataclass

from supervisor.pool.state.exits import WorkerExit, tell_status
from supervisor.pool.state.pool_state import describe, log
from supervisor.pool.state.worker_registry import WorkerProcess
from supervisor.system import process_group

#: How long a line waits for its status: a process group may take a second to end, and is looked
#: for among all processes, which takes its time on a busy machine.
PATIENCE_SECONDS = process_group.GRACE_SECONDS + 1.0


@dataclass(frozen=True, slots=True)
class _Pending:
    who: str
    following: str
    died_at: float


class ExitLog:
    """Deaths that are told of once, with their status or without."""

    def __init__(self) -> None:
        self._pending: dict[int, _Pending] = {}

    def died(
        self, worker: WorkerProcess, death: WorkerExit, following: str, *, final: bool
    ) -> None:
        """Tell of a death now if there is nothing to wait for (`final`), else soon."""
        who = describe(worker)
        if death.expected:
            log.info("%s ended: %s", who, death.reason)
        elif final or worker.pid is None:
            _tell(who, death.reason, following)
        else:
            self._pending[worker.pid] = _Pending(who, following, worker.died_at or 0.0)

    def reaped(self, pid: int, reason: str) -> None:
        """The nursery knows how that one died."""
        pending = self._pending.pop(pid, None)
        if pending is not None:
            _tell(pending.who, reason, pending.following)

    def tick(self, now: float) -> None:
        """Who has been waited for long enough is told of without a status."""
        for pid, pending in list(self._pending.items()):
            if now - pending.died_at >= PATIENCE_SECONDS:
                del self._pending[pid]
                _tell(pending.who, tell_status(None), pending.following)


def _tell(who: str, reason: str, following: str) -> None:
    log.warning("%s died: %s; %s", who, reason, following)
