"""Reload: the code is imported anew beside the old, proven by one worker, then rolled out.

    loading ──► first successor ──ready──► every other slot ──► done
       │              │ dies, three times
       └──────────────┴──► failed: the old generation goes on, and the error is reported

Until a worker of the new generation is ready nothing else is forked from it: a crash in between is
filled from the code that is known to work.
"""

from collections.abc import Callable

from msgspec import Struct, field

from supervisor.observer import ReloadFinished, ReloadStarted
from supervisor.pool.replacements import Replacer
from supervisor.pool.state.nursery_registry import NurseryProcess, Phase
from supervisor.pool.state.pool_commands import Done, Outcome, Refused
from supervisor.pool.state.pool_state import PoolState, log
from supervisor.pool.state.replacement import Reason, Replacement
from supervisor.pool.state.worker_registry import Slot
from supervisor.text import durations

Answer = Callable[[Outcome], None]


class ReloadProgress(Struct, eq=False):
    """One reload under way."""

    generation: int
    started_at: float
    answer: Answer
    #: Number of the slot whose successor proves the code.
    first: int | None = None
    proven: bool = False
    #: Slots that keep their old worker, and why.
    failures: dict[int, str] = field(default_factory=dict[int, str])


class Reloader:
    """The service of reloads; at most one is under way."""

    def __init__(self, pool_state: PoolState, replacer: Replacer) -> None:
        self._pool_state = pool_state
        self._replacer = replacer
        self._reload: ReloadProgress | None = None
        #: Answers to reloads asked for before the pool was ready.
        self._waiting: list[Answer] = []

    def reload(self, answer: Answer, now: float) -> None:
        """Begin; a reload under way gives way, for it may have read the disk too early."""
        if self._pool_state.ready_at is None:
            log.info("reload: as soon as the pool is ready")
            self._waiting.append(answer)
            return
        self._give_way("a newer reload took its place", now)
        self._begin(answer, now)

    def settle(self, now: float) -> None:
        """Take the next step of the reload that is under way, if it can be taken."""
        if self._pool_state.drain is not None:
            self._stop(now)
            return
        if self._waiting and self._pool_state.ready_at is not None:
            waiting, self._waiting = self._waiting, []
            self.reload(lambda outcome: _answer_all(waiting, outcome), now)
        reload = self._reload
        if reload is None:
            return
        if not reload.proven:
            if reload.failures:
                self._fail(reload, next(iter(reload.failures.values())), now)
            else:
                self._prove(reload)
            return
        self._roll_out(reload)
        self._finish_if_done(reload, now)

    def candidate_ended(self, nursery: NurseryProcess, reason: str, now: float) -> None:
        """Go on, or fail, after the nursery of an unproven generation has ended."""
        reload = self._reload
        if reload is None or reload.generation != nursery.generation:
            return
        if nursery.unsafe:
            self._start_nursery(reload, now, preload=False)
        else:
            self._fail(reload, reason, now)

    # Steps.

    def _begin(self, answer: Answer, now: float) -> None:
        pool_state = self._pool_state
        reload = self._reload = ReloadProgress(pool_state.nurseries.next_number, now, answer)
        pool_state.reloading_since = now
        log.info("reload: importing the task modules anew, as generation %d", reload.generation)
        pool_state.observe(ReloadStarted(reload.generation, now))
        self._take_over_recycles(now)
        # Code that was unsafe to fork may not be so any more.
        self._start_nursery(reload, now, preload=pool_state.config.preload)

    def _take_over_recycles(self, now: float) -> None:
        """Call them off: one that never works, in the only slot, would be tried for ever."""
        for slot in self._pool_state.registry.slots():
            if slot.replacement is not None and slot.replacement.reason is Reason.RECYCLE:
                self._replacer.call_off(slot, "a reload replaces the worker", now)

    def _start_nursery(self, reload: ReloadProgress, now: float, *, preload: bool) -> None:
        reload.generation = self._pool_state.nurseries.next_number
        try:
            self._pool_state.start_nursery(now, preload=preload, candidate=True)
        except OSError as error:
            self._fail(reload, f"cannot start the nursery: {error}", now)

    def _prove(self, reload: ReloadProgress) -> None:
        nursery = self._pool_state.nurseries.find(reload.generation)
        if nursery is None or nursery.phase is not Phase.LOADED or reload.first is not None:
            return
        slots = self._pool_state.registry.slots()
        # A slot that is being restarted may have a successor on its way, from the old code.
        free = [slot for slot in slots if slot.replacement is None]
        if free:
            reload.first = free[0].number
            self._ask(reload, free[0], reload.generation)

    def _ask(self, reload: ReloadProgress, slot: Slot, generation: int | None) -> None:
        slot.replacement = Replacement(
            Reason.RELOAD,
            self._pool_state.new_backoff(),
            generation,
            lambda outcome: self._replaced(reload, slot.number, outcome),
        )

    def _replaced(self, reload: ReloadProgress, number: int, outcome: Outcome) -> None:
        """Note that a slot has its successor, or will not have one."""
        if self._reload is not reload:
            return
        if isinstance(outcome, Done):
            if not reload.proven:
                self._proven(reload)
        elif number > self._pool_state.registry.target:
            reload.first = None  # the pool was made smaller: another slot proves the code
        else:
            reload.failures[number] = outcome.text

    def _proven(self, reload: ReloadProgress) -> None:
        reload.proven = True
        for old in self._pool_state.nurseries.promote(reload.generation):
            self._pool_state.retire_nursery(old)

    def _roll_out(self, reload: ReloadProgress) -> None:
        for slot in self._pool_state.registry.slots():
            worker = slot.current
            if slot.replacement is not None or slot.number in reload.failures:
                continue
            if worker is not None and worker.alive and worker.generation < reload.generation:
                self._ask(reload, slot, None)

    def _finish_if_done(self, reload: ReloadProgress, now: float) -> None:
        slots = self._pool_state.registry.slots()
        # Also for a restart's successor, which may be of the old code: it is replaced then, too.
        if any(each.replacement is not None for each in slots):
            return
        if not reload.failures:
            self._end(reload, None, now)
            return
        number, reason = next(iter(reload.failures.items()))
        stayed = f"{len(reload.failures)} of {len(slots)} workers stay as they were"
        self._end(reload, f"{stayed}; worker {number}: {reason}", now)

    # Ends.

    def _fail(self, reload: ReloadProgress, reason: str, now: float) -> None:
        """End the reload; the old generation goes on."""
        self._end(reload, reason, now)
        self._call_off(reason, now)
        self._discard(reload)

    def _give_way(self, reason: str, now: float) -> None:
        reload = self._reload
        if reload is None:
            return
        self._reload = None
        self._call_off(reason, now)
        if not reload.proven:
            self._discard(reload)
        log.info("reload: generation %d was given up: %s", reload.generation, reason)
        reload.answer(Refused(reason))

    def _stop(self, now: float) -> None:
        self._pool_state.reloading_since = None
        waiting, self._waiting = self._waiting, []
        _answer_all(waiting, Refused("the pool drains"))
        self._give_way("the pool drains", now)

    def _call_off(self, reason: str, now: float) -> None:
        for slot in self._pool_state.registry.slots():
            if slot.replacement is not None and slot.replacement.reason is Reason.RELOAD:
                self._replacer.call_off(slot, reason, now)

    def _discard(self, reload: ReloadProgress) -> None:
        nursery = self._pool_state.nurseries.find(reload.generation)
        if nursery is not None:
            self._pool_state.retire_nursery(nursery)

    def _end(self, reload: ReloadProgress, error: str | None, now: float) -> None:
        pool_state = self._pool_state
        self._reload = None
        pool_state.reloading_since = None
        pool_state.reload_error = error
        seconds = now - reload.started_at
        pool_state.totals.reloads["succeeded" if error is None else "failed"] += 1
        pool_state.observe(ReloadFinished(reload.generation, error, seconds, now))
        if error is None:
            text = f"every worker runs generation {reload.generation}"
            log.info("reload: %s, after %s", text, durations.brief(seconds))
            reload.answer(Done(text))
        else:
            log.error("reload failed, after %s: %s", durations.brief(seconds), error)
            reload.answer(Refused(error))


def _answer_all(answers: list[Answer], outcome: Outcome) -> None:
    for answer in answers:
        answer(outcome)
