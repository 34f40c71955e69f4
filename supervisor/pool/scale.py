"""Make the pool larger or smaller: the workers of given-up slots retire, new slots are filled."""

from supervisor.config import MOST_PROCESSES
from supervisor.observer import Scaled
from supervisor.pool.replacements import Replacer
from supervisor.pool.state.pool_commands import Done, Outcome, Refused
from supervisor.pool.state.pool_state import PoolState, log
from supervisor.text.plurals import pluralize


class Scaler:
    """The service of `ctl scale`, TTIN and TTOU."""

    def __init__(self, pool_state: PoolState, replacer: Replacer) -> None:
        self._pool_state = pool_state
        self._replacer = replacer

    def scale(self, processes: int, now: float) -> Outcome:
        """Make it a pool of so many processes."""
        pool_state, before = self._pool_state, self._pool_state.registry.target
        if not 1 <= processes <= MOST_PROCESSES:
            return Refused(f"a pool has 1 to {MOST_PROCESSES} processes, not {processes}")
        if processes == before:
            return Done(f"the pool has {pluralize(before, 'process', 'processes')} already")
        given_up = [slot for slot in pool_state.registry.slots() if slot.number > processes]
        inside = pool_state.registry.set_target(processes)
        for slot in given_up:
            self._replacer.call_off(slot, f"slot {slot.number} was given up", now)
        for worker in inside:
            self._replacer.retire(worker, now)
        if pool_state.config.max_restarts is None:
            pool_state.window.intensity = pool_state.config.restarts_for(processes)
        text = f"scaled from {before} to {pluralize(processes, 'process', 'processes')}"
        log.info("%s", text)
        pool_state.observe(Scaled(processes, now))
        return Done(text)
