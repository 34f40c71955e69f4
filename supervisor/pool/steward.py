"""The choice of the pool's steward (pure).

One worker promotes due tasks even when every worker is idle, notices dead consumers and re-seeds
automatic tasks. Two at once do no harm, none at all delays scheduled tasks: so the appointment
moves early.
"""

from collections.abc import Iterable

from supervisor.pool.state.worker_registry import WorkerProcess, WorkerState

#: A heartbeat this late moves the appointment; they come twice a second.
LATE_SECONDS = 1.0


def elect(
    workers: Iterable[WorkerProcess], current: int | None, now: float, heartbeat_seconds: float
) -> WorkerProcess | None:
    """The worker that should be steward at `now`; the current one as long as it serves.

    A draining worker is taken only if no other is there: the steward drains last.
    """
    able = [each for each in workers if each.can_adopt and not each.adopts_only]
    if not able:
        return None

    def rank(worker: WorkerProcess) -> tuple[bool, bool, bool, int]:
        return (
            is_late(worker, now, heartbeat_seconds),
            worker.state is WorkerState.DRAINING,
            worker.number != current,
            worker.number,
        )

    return min(able, key=rank)


def is_late(worker: WorkerProcess, now: float, heartbeat_seconds: float) -> bool:
    """Return True if the loop of a worker has missed its last heartbeat."""
    last = worker.heartbeat_at if worker.heartbeat_at is not None else worker.ready_at
    return last is not None and now - last > heartbeat_seconds + LATE_SECONDS
