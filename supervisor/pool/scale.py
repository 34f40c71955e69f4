"""Makes the pool larger or smaller: what is given up retires, what is new is filled."""

from supervisor.config import MOST_PROCESSES
from supervisor.observer import Scaled
from supervisor.pool.replacements import Succession
from supervisor.pool.state.pool_commands import Done, Outcome, Refused
from supervisor.pool.state.pool_state import Ground, log
from supervisor.text.plurals import counted


class Scaling:
    """The service of `ctl scale`, TTIN and TTOU."""

    def __init__(self, ground: Ground, succession: Succession) -> None:
        self._ground = ground
        self._succession = succession

    def order(self, processes: int, now: float) -> Outcome:
        """Be a pool of so many processes."""
        ground, before = self._ground, self._ground.registry.target
        if ground.drain is not None:
            return Refused("the pool drains")
        if not 1 <= processes <= MOST_PROCESSES:
            return Refused(f"a pool has 1 to {MOST_PROCESSES} processes, not {processes}")
        if processes == before:
            return Done(f"the pool has {counted(before, 'process', 'processes')} already")
        given_up = [slot for slot in ground.registry.slots() if slot.number > processes]
        inside = ground.registry.set_target(processes)
        for slot in given_up:
            self._succession.call_off(slot, f"slot {slot.number} was given up", now)
        for worker in inside:
            self._succession.retire(worker, now)
        if ground.config.max_restarts is None:
            ground.window.allow(ground.config.restarts_for(processes))
        text = f"scaled from {before} to {counted(processes, 'process', 'processes')}"
        log.info("%s", text)
        ground.observe(Scaled(processes, now))
        return Done(text)

    def step(self, by: int, now: float) -> None:
        """One more or one less; never none."""
        outcome = self.order(self._ground.registry.target + by, now)
        if isinstance(outcome, Refused):
            log.warning("not scaled: %s", outcome.text)
