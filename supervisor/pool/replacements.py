"""Replaces living workers: the successor gets ready first, then its predecessor retires.

    replacement noted ──► successor asked for ──ready──► predecessor drains, at its own pace
                              │        ▲
                              └─ dies ─┘  with backoff, three times

So a pool that is reloaded or recycled never has fewer ready workers than before. A slot whose
worker died meanwhile is filled by the successor that is on its way.
"""

from collections.abc import Callable

from ipc.messages import Drain as DrainMessage
from supervisor.pool.state.drain import END_GRACE_SECONDS, HAND_BACK_GRACE_SECONDS
from supervisor.pool.state.pool_commands import Done, Outcome, Refused
from supervisor.pool.state.pool_state import PoolState, describe, log
from supervisor.pool.state.replacement import Reason, Replacement
from supervisor.pool.state.worker_registry import Cause, Slot, WorkerProcess, WorkerState


class Replacer:
    """The service side of replacements."""

    def __init__(self, pool_state: PoolState) -> None:
        self._pool_state = pool_state

    def order(self, number: int, answer: Callable[[Outcome], None]) -> None:
        """Replace the worker of that slot; answered when its successor is ready."""
        pool_state = self._pool_state
        slot = pool_state.registry.slot(number)
        if pool_state.drain is not None:
            answer(Refused("the pool drains"))
        elif slot is None:
            answer(
                Refused(f"there is no slot {number}; they are 1 to {pool_state.registry.target}")
            )
        elif slot.replacement is not None:
            answer(Refused(f"worker {number} is being replaced: {slot.replacement.why}"))
        else:
            log.info("worker %d is replaced as asked", number)
            slot.replacement = Replacement(
                Reason.REQUESTED, pool_state.new_backoff(), answer=answer
            )

    def settle(self, now: float) -> None:
        """Ask for the successors that are due, as far as there is room for workers that start."""
        pool_state = self._pool_state
        if pool_state.drain is not None:
            self._give_up("the pool drains")
            return
        if pool_state.server_is_away:
            return  # a successor could not get ready, and would be blamed for it
        for slot in pool_state.registry.slots():
            if slot.replacement is None or slot.successor is not None:
                continue
            if now >= slot.replacement.due_at:
                self._ask(slot, slot.replacement.generation, now)

    def _give_up(self, reason: str) -> None:
        """Whoever waits for a replacement hears that none comes; who started drains as all do."""
        for slot in self._pool_state.registry.slots():
            replacement, slot.replacement = slot.replacement, None
            if replacement is not None:
                replacement.answer(Refused(reason))

    def _ask(self, slot: Slot, generation: int | None, now: float) -> None:
        pool_state = self._pool_state
        nursery = pool_state.nurseries.to_fork_from(generation)
        if nursery is None or not pool_state.has_room_to_start:
            return
        if pool_state.registry.requested_in(slot.number, nursery.generation) is not None:
            return  # the nursery's answer names only the slot: one fork of it at a time
        pool_state.process_control.spawn(
            pool_state.registry.add_successor(slot, nursery.generation, now)
        )

    def ready(self, successor: WorkerProcess, now: float) -> None:
        """A worker got ready: if it is a successor, its predecessor retires."""
        pool_state = self._pool_state
        slot = pool_state.registry.slot_awaiting(successor)
        if slot is None or slot.replacement is None:
            return
        replacement, slot.replacement = slot.replacement, None
        former = pool_state.registry.promote(slot)
        pool_state.totals.replaced(replacement.why)
        if former is not None and former.alive:
            log.info("%s takes the place of %s", describe(successor), describe(former))
            self.retire(former, now)
        replacement.answer(Done(f"worker {slot.number} was replaced; its pid is {successor.pid}"))

    def failed(self, slot: Slot, reason: str, now: float) -> str:
        """The successor died before it was ready; what follows, for the log line."""
        slot.successor = None
        replacement = slot.replacement
        if replacement is None:
            return "its predecessor goes on"
        if replacement.failed(now):
            return "another successor follows"
        slot.replacement = None
        replacement.answer(Refused(f"{replacement.failures} successors failed; last: {reason}"))
        return "its predecessor goes on"

    def call_off(self, slot: Slot, reason: str, now: float) -> None:
        """Replace that worker no more; a successor that is not ready is not wanted."""
        replacement, slot.replacement = slot.replacement, None
        successor, slot.successor = slot.successor, None
        if successor is not None:
            self.retire(successor, now)
        if replacement is not None:
            replacement.answer(Refused(reason))

    def retire(self, worker: WorkerProcess, now: float) -> None:
        """Let it finish what it runs, within --retire-timeout if there is one, and end."""
        pool_state = self._pool_state
        if worker.spawned_at is None:
            pool_state.kill(worker, Cause.RETIRED, "not wanted any more")
            return
        pool_state.tell(worker, DrainMessage(self._retire_seconds))
        if worker.may_enter(WorkerState.DRAINING):
            was_starting = worker.is_starting
            worker.enter(WorkerState.DRAINING)
            # One that is not ready ends by itself, since it has claimed nothing.
            worker.deadline = now + END_GRACE_SECONDS if was_starting else self._retire_by(now)

    def got_ready_late(self, worker: WorkerProcess, now: float) -> None:
        """It was told to retire when its word that it is ready was on its way: it may run tasks."""
        if worker.state is WorkerState.DRAINING and self._pool_state.drain is None:
            worker.deadline = self._retire_by(now)

    @property
    def _retire_seconds(self) -> float | None:
        timeout = self._pool_state.config.retire_timeout
        return None if timeout is None else timeout.total_seconds()

    def _retire_by(self, now: float) -> float | None:
        seconds = self._retire_seconds
        return None if seconds is None else now + seconds + HAND_BACK_GRACE_SECONDS
