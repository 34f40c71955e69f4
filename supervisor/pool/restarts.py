"""Fills the slots of the dead: decides what becomes of a slot whose worker died, and refills it."""

from supervisor.pool.replacements import Succession
from supervisor.pool.shutdown import Ending
from supervisor.pool.state.exits import Death
from supervisor.pool.state.pool_state import Ground, describe
from supervisor.pool.state.worker_registry import Cause, Incarnation, Slot
from supervisor.text import durations


class Vacancies:
    """The service of empty slots."""

    def __init__(self, ground: Ground, ending: Ending, succession: Succession) -> None:
        self._ground = ground
        self._ending = ending
        self._succession = succession

    def died(self, worker: Incarnation, death: Death, healthy_for: float, now: float) -> str:
        """Decide about the slot of `worker`; what follows, for the log line."""
        registry = self._ground.registry
        unforeseen = not death.expected and death.cause is not Cause.NURSERY
        if self._ground.drain is not None:
            if unforeseen:
                self._count(death)
            return "not replaced"
        awaiting = registry.slot_awaiting(worker)
        if awaiting is not None:
            return self._succession.failed(awaiting, death.reason, now)
        if unforeseen:
            self._count(death)
        slot = registry.slot_of(worker)
        if slot is None:
            return "its place was taken or given up before"
        if unforeseen:
            return self._restart(slot, worker, death, healthy_for, now)
        return "replaced" if death.expected else "asked of the next nursery"

    def _restart(
        self, slot: Slot, worker: Incarnation, death: Death, healthy_for: float, now: float
    ) -> str:
        ground = self._ground
        ground.last_error = f"{describe(worker)}: {death.reason}"
        ground.totals.restarted(death.cause)
        slot.restarts += 1
        pause = slot.backoff.pause_after(healthy_for)
        slot.due_at = now + pause
        if ground.window.record(now):
            self._ending.give_up_restarting(ground.last_error, now)
            return "not replaced"
        return f"replaced in {durations.brief(pause)}" if pause else "replaced at once"

    def _count(self, death: Death) -> None:
        totals = self._ground.totals
        totals.stalls += death.cause is Cause.STALL
        totals.crashes += death.cause in (Cause.CRASH, Cause.BOOT)

    def settle(self, now: float) -> None:
        """Fork a worker for each slot that is empty and whose pause is over."""
        ground = self._ground
        nursery = ground.generations.current
        if nursery is None:
            return
        for slot in ground.registry.to_fill(now):
            if not ground.has_room_to_start:
                return
            # The nursery's answer names only the slot: one fork of it at a time.
            if ground.registry.requested_in(slot.number, nursery.generation) is None:
                ground.edge.spawn(ground.registry.add(slot, nursery.generation, now))
