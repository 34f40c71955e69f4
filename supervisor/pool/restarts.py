"""Decide what becomes of the slot of a dead worker, and fill empty slots."""

from supervisor.pool.replacements import Replacer
from supervisor.pool.shutdown import Shutdown
from supervisor.pool.state.exits import WorkerExit
from supervisor.pool.state.pool_state import PoolState
from supervisor.pool.state.worker_registry import Cause, Slot, WorkerProcess
from supervisor.text import durations


class Restarter:
    """The service of empty slots."""

    def __init__(self, pool_state: PoolState, shutdown: Shutdown, replacer: Replacer) -> None:
        self._pool_state = pool_state
        self._shutdown = shutdown
        self._replacer = replacer

    def exited(
        self, worker: WorkerProcess, worker_exit: WorkerExit, healthy_for: float, now: float
    ) -> str:
        """Decide what happens to the slot of `worker`, and return that for the log."""
        registry = self._pool_state.registry
        unforeseen = not worker_exit.expected and worker_exit.cause is not Cause.NURSERY
        if worker_exit.expected and worker.ready_at is not None:
            self._pool_state.streak.broken()  # its life was short because it was told to end
        awaiting = registry.slot_awaiting(worker)
        is_draining = self._pool_state.drain is not None
        if unforeseen and (is_draining or awaiting is None):
            totals = self._pool_state.totals
            totals.stalls += worker_exit.cause is Cause.STALL
            totals.crashes += worker_exit.cause in (Cause.CRASH, Cause.BOOT)
        if is_draining:
            return "not replaced"
        if awaiting is not None:
            return self._replacer.failed(awaiting, worker_exit.reason, now)
        slot = registry.slot_of(worker)
        if slot is None:
            return "its place was taken or given up before"
        if unforeseen:
            return self._restart(slot, worker_exit, healthy_for, now)
        return "replaced" if worker_exit.expected else "asked of the next nursery"

    def _restart(self, slot: Slot, worker_exit: WorkerExit, healthy_for: float, now: float) -> str:
        pool_state = self._pool_state
        pool_state.last_error = worker_exit
        pool_state.totals.restarts[worker_exit.cause] += 1
        slot.restarts += 1
        pause = slot.backoff.pause_after(healthy_for)
        slot.due_at = now + pause
        if self._is_any_healthy(healthy_for, now):
            pool_state.streak.broken()
        goes_on = pool_state.streak.record(now, pool_state.window.intensity)
        if pool_state.window.record(now):
            self._shutdown.give_up_restarting(worker_exit, now)
            return "not replaced"
        if goes_on and pool_state.ready_at is not None:
            self._shutdown.give_up_healing(worker_exit, now)
            return "not replaced"
        return f"replaced in {durations.brief(pause)}" if pause else "replaced at once"

    def _is_any_healthy(self, healthy_for: float, now: float) -> bool:
        """Tell whether a worker, or the one that died just now, was ready for a whole window."""
        lives = [each.healthy_seconds(now) for each in self._pool_state.registry.alive()]
        window = self._pool_state.config.restart_window.total_seconds()
        return max([healthy_for, *lives]) >= window

    def settle(self, now: float) -> None:
        """Fork a worker for each slot that is empty and whose pause is over."""
        pool_state = self._pool_state
        for slot in pool_state.registry.to_fill(now):
            if not pool_state.has_room_to_start(now):
                return
            nursery = pool_state.nursery_for(slot)
            if nursery is not None:
                worker = pool_state.registry.add(slot, nursery.generation, now)
                pool_state.process_control.spawn(worker)
