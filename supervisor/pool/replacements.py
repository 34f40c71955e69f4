"""Replace living workers: the successor gets ready first, then its predecessor retires.

    replacement noted ──► successor asked for ──ready──► predecessor drains, at its own pace
                              │        ▲
                              └─ dies ─┘  with backoff, three times

So a pool that is reloaded or recycled never has fewer ready workers than before. A slot whose
worker died meanwhile is filled by the successor that is on its way.
"""

from collections.abc import Callable

from ipc import messages
from supervisor.grace_periods import CLEANUP_SECONDS, EXIT_SECONDS
from supervisor.pool.state.pool_commands import Done, Outcome, Refused
from supervisor.pool.state.pool_state import PoolState, log
from supervisor.pool.state.replacement import Reason, Replacement
from supervisor.pool.state.worker_registry import Cause, Slot, WorkerProcess, WorkerState


class Replacer:
    """The service of replacements."""

    def __init__(self, pool_state: PoolState) -> None:
        self._pool_state = pool_state

    def replace_on_request(self, number: int, answer: Callable[[Outcome], None]) -> None:
        """Replace the worker of slot `number`, and answer when its successor is ready."""
        registry = self._pool_state.registry
        slot = registry.slot(number)
        if slot is None:
            answer(Refused(f"there is no slot {number}; they are 1 to {registry.target}"))
        elif slot.replacement is not None:
            answer(Refused(f"worker {number} is being replaced: {slot.replacement.reason}"))
        else:
            log.info("worker %d is replaced as asked", number)
            backoff = self._pool_state.new_backoff()
            slot.replacement = Replacement(Reason.REQUESTED, backoff, answer=answer)

    def settle(self, now: float) -> None:
        """Ask for the successors that are due, as far as there is room for workers that start."""
        pool_state = self._pool_state
        if pool_state.drain is not None:
            self._refuse_all("the pool drains")
            return
        if pool_state.server_is_away:
            return  # a successor could not get ready, and would be blamed for it
        for slot in pool_state.registry.slots():
            replacement = slot.replacement
            if replacement is None or slot.successor is not None or now < replacement.due_at:
                continue
            if not pool_state.has_room_to_start(now):
                return
            nursery = pool_state.nursery_for(slot, replacement.generation)
            if nursery is not None:
                successor = pool_state.registry.add_successor(slot, nursery.generation, now)
                pool_state.process_control.spawn(successor)

    def _refuse_all(self, reason: str) -> None:
        """Refuse every replacement; successors that have started drain as all workers do."""
        for slot in self._pool_state.registry.slots():
            replacement, slot.replacement = slot.replacement, None
            if replacement is not None:
                replacement.answer(Refused(reason))

    def ready(self, successor: WorkerProcess, now: float) -> None:
        """Let the predecessor of a worker that got ready retire, if it has one."""
        pool_state = self._pool_state
        slot = pool_state.registry.slot_awaiting(successor)
        if slot is None or slot.replacement is None:
            return
        replacement, slot.replacement = slot.replacement, None
        former = pool_state.registry.promote(slot)
        pool_state.totals.replacements[replacement.reason] += 1
        if former is not None and former.alive:
            log.info("%s takes the place of %s", successor.describe(), former.describe())
            self.retire(former, now)
        replacement.answer(Done(f"worker {slot.number} was replaced; its pid is {successor.pid}"))

    def failed(self, slot: Slot, reason: str, now: float) -> str:
        """Note that a successor died before it was ready; the consequence, for the log line."""
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
        """Cancel the replacement of a worker, with a successor that is not ready."""
        replacement, slot.replacement = slot.replacement, None
        successor, slot.successor = slot.successor, None
        if successor is not None:
            self.retire(successor, now)
        if replacement is not None:
            replacement.answer(Refused(reason))

    def retire(self, worker: WorkerProcess, now: float) -> None:
        """Have a worker finish what it runs, within --retire-timeout if there is one, and end."""
        pool_state = self._pool_state
        if worker.spawned_at is None:
            pool_state.kill(worker, Cause.RETIRED, "not wanted any more")
            return
        pool_state.send(worker, messages.Drain(self._retire_seconds))
        if worker.may_enter(WorkerState.DRAINING):
            was_starting = worker.is_starting
            worker.enter(WorkerState.DRAINING)
            # One that is not ready ends by itself, since it has claimed nothing.
            worker.deadline = now + EXIT_SECONDS if was_starting else self._retire_by(now)

    def got_ready_late(self, worker: WorkerProcess, now: float) -> None:
        """Reset the deadline of a retiring worker that became ready before it read its Drain."""
        if worker.state is WorkerState.DRAINING and self._pool_state.drain is None:
            worker.deadline = self._retire_by(now)

    @property
    def _retire_seconds(self) -> float | None:
        timeout = self._pool_state.config.retire_timeout
        return None if timeout is None else timeout.total_seconds()

    def _retire_by(self, now: float) -> float | None:
        seconds = self._retire_seconds
        return None if seconds is None else now + seconds + CLEANUP_SECONDS
