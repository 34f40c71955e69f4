"""Make the pool larger or smaller: the workers of given-up slots retire, new slots are filled."""

from supervisor.config import MOST_PROCESSES
from supervisor.observer import Scaled
from supervisor.pool.replacements import Replacer
from supervisor.pool.state.pool_commands import Done, Outcome, Refused
from supervisor.pool.state.pool_state import PoolState, log
from supervisor.pool.state.scaling import SizeChange
from supervisor.process_range import ProcessRange
from supervisor.text.plurals import pluralize


class Scaler:
    """The service of `ctl scale`, TTIN and TTOU, and of a size that follows the work."""

    def __init__(self, pool_state: PoolState, replacer: Replacer) -> None:
        self._pool_state = pool_state
        self._replacer = replacer

    def scale(self, processes: int, now: float) -> Outcome:
        """Make it a pool of so many processes, whatever its work."""
        pool_state, before = self._pool_state, self._pool_state.registry.target
        if not 1 <= processes <= MOST_PROCESSES:
            return Refused(f"a pool has 1 to {MOST_PROCESSES} processes, not {processes}")
        bounds = None if pool_state.scaling is None else pool_state.scaling.bounds
        pool_state.scaling = None
        if processes == before:
            text = f"the pool has {_processes(before)} already"
        else:
            text = f"scaled from {before} to {_processes(processes)}"
        if bounds is not None:
            text += f"; it stays so until it is scaled to {bounds} again"
        if processes != before:
            self._resize(processes, now)
        if processes != before or bounds is not None:
            log.info("%s", text)
        return Done(text)

    def scale_between(self, bounds: ProcessRange, now: float) -> Outcome:
        """Have the size follow the work between these bounds, and bring it within them now."""
        if not 1 <= bounds.least <= bounds.most <= MOST_PROCESSES:
            within = f"1 to {MOST_PROCESSES} processes, the smaller number first"
            return Refused(f"the bounds of a pool are {within}, not {bounds}")
        before = self._pool_state.registry.target
        processes = bounds.clamp(before)
        self._pool_state.scale_between(bounds)
        if processes == before:
            text = f"{_processes(before)}"
        else:
            text = f"scaled from {before} to {_processes(processes)}"
            self._resize(processes, now)
        text += f"; from now on the size follows the work between {bounds.least} and {bounds.most}"
        log.info("%s", text)
        return Done(text)

    def follow(self, change: SizeChange) -> None:
        """Carry out a change of size that the work asked for."""
        self._resize(change.processes, change.at, change.reason)
        log.info(
            "scaled %s from %d to %s: %s",
            change.direction,
            change.before,
            _processes(change.processes),
            change.reason,
        )

    def _resize(self, processes: int, now: float, reason: str | None = None) -> None:
        pool_state = self._pool_state
        given_up = [slot for slot in pool_state.registry.slots() if slot.number > processes]
        inside = pool_state.registry.set_target(processes)
        for slot in given_up:
            self._replacer.call_off(slot, f"slot {slot.number} was given up", now)
        for worker in inside:
            self._replacer.retire(worker, now)
        if pool_state.config.max_restarts is None:
            pool_state.window.intensity = pool_state.config.restarts_for(processes)
        pool_state.observe(Scaled(processes, now, reason))


def _processes(number: int) -> str:
    return pluralize(number, "process", "processes")
