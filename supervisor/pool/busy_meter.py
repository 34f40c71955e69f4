"""The part of each worker that is busy: of its places, or of the time of its event loop.

A heartbeat tells which tasks run, but it is sent by the loop: where tasks compute in the loop it
comes between two batches of them, and tells of none. So the CPU of the loop's thread counts too,
with the time for which it waited for one, and so does the lag with which the heartbeat came.
"""

from collections.abc import Iterable

from msgspec import Struct

from supervisor.pool.state.pool_state import HEARTBEAT_SECONDS, PoolState
from supervisor.pool.state.worker_registry import WorkerProcess

#: The CPU of a worker is read this often.
LOOK_SECONDS = 2.0


class _Look(Struct, frozen=True):
    """The time until `at` for which a thread was running or runnable; the part since the last."""

    at: float
    seconds: float
    part: float


class BusyMeter:
    """Measure the workers of one pool."""

    def __init__(self, pool_state: PoolState) -> None:
        self._pool_state = pool_state
        self._looks: dict[int, _Look] = {}

    def measure(self, workers: Iterable[WorkerProcess], now: float) -> float:
        """Sum up what is busy of these workers, each from 0 to 1; all others are forgotten."""
        looks, self._looks = self._looks, {}
        busy = 0.0
        for worker in workers:
            look = self._look(worker, looks.get(worker.number), now)
            if look is not None:
                self._looks[worker.number] = look
            cpu_part = 0.0 if look is None else look.part
            busy += min(1.0, max(cpu_part, self._told_part(worker)))
        return busy

    def _told_part(self, worker: WorkerProcess) -> float:
        """The busy part by the last heartbeat."""
        if worker.heartbeat is None:
            return 0.0
        lag = worker.heartbeat.loop_lag_seconds
        places = worker.in_flight / self._pool_state.config.concurrency
        return max(places, lag / (lag + HEARTBEAT_SECONDS))

    def _look(self, worker: WorkerProcess, last: _Look | None, now: float) -> _Look | None:
        if worker.pid is None or (last is not None and now - last.at < LOOK_SECONDS):
            return last
        control = self._pool_state.process_control
        used, waited = control.cpu_used_seconds(worker.pid), control.cpu_wait_seconds(worker.pid)
        if used is None or waited is None:
            return None
        seconds = used + waited
        part = 0.0 if last is None else (seconds - last.seconds) / (now - last.at)
        return _Look(now, seconds, part)
