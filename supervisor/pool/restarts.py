"""Fills the slots of the dead: decides what becomes of a slot whose worker died, and refills it."""

from supervisor.pool.replacements import Replacer
from supervisor.pool.shutdown import Shutdown
from supervisor.pool.state.exits import WorkerExit
from supervisor.pool.state.pool_state import PoolState, describe
from supervisor.pool.state.worker_registry import Cause, Slot, WorkerProcess
from supervisor.text import durations


class Restarter:
    """The service of empty slots."""

    def __init__(self, pool_state: PoolState, ending: Shutdown, replacer: Replacer) -> None:
        self._pool_state = pool_state
        self._ending = ending
        self._replacer = replacer

    def died(self, worker: WorkerProcess, death: WorkerExit, healthy_for: float, now: float) -> str:
        """Decide about the slot of `worker`; what follows, for the log line."""
        registry = self._pool_state.registry
        unforeseen = not death.expected and death.cause is not Cause.NURSERY
        if self._pool_state.drain is not None:
            if unforeseen:
                self._count(death)
            return "not replaced"
        awaiting = registry.slot_awaiting(worker)
        if awaiting is not None:
            return self._replacer.failed(awaiting, death.reason, now)
        if unforeseen:
            self._count(death)
        slot = registry.slot_of(worker)
        if slot is None:
            return "its place was taken or given up before"
        if unforeseen:
            return self._restart(slot, worker, death, healthy_for, now)
        return "replaced" if death.expected else "asked of the next nursery"

    def _restart(
        self, slot: Slot, worker: WorkerProcess, death: WorkerExit, healthy_for: float, now: float
    ) -> str:
        pool_state = self._pool_state
        pool_state.last_error = f"{describe(worker)}: {death.reason}"
        pool_state.totals.restarted(death.cause)
        slot.restarts += 1
        pause = slot.backoff.pause_after(healthy_for)
        slot.due_at = now + pause
        if pool_state.window.record(now):
            self._ending.give_up_restarting(pool_state.last_error, now)
            return "not replaced"
        return f"replaced in {durations.brief(pause)}" if pause else "replaced at once"

    def _count(self, death: WorkerExit) -> None:
        totals = self._pool_state.totals
        totals.stalls += death.cause is Cause.STALL
        totals.crashes += death.cause in (Cause.CRASH, Cause.BOOT)

    def settle(self, now: float) -> None:
        """Fork a worker for each slot that is empty and whose pause is over."""
        pool_state = self._pool_state
        nursery = pool_state.nurseries.current
        if nursery is None:
            return
        for slot in pool_state.registry.to_fill(now):
            if not pool_state.has_room_to_start:
                return
            # The nursery's answer names only the slot: one fork of it at a time.
            if pool_state.registry.requested_in(slot.number, nursery.generation) is None:
                pool_state.process_control.spawn(
                    pool_state.registry.add(slot, nursery.generation, now)
                )
