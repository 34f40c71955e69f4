"""Sees whether the pool is up: all of it, or what is there when the time to boot is over."""

from supervisor.observer import PoolReady
from supervisor.pool.shutdown import Ending
from supervisor.pool.state.pool_state import Ground, log
from supervisor.text import durations
from supervisor.text.plurals import counted


class Booting:
    """Idle once the pool was ready: from then on a lost server is waited for, for ever."""

    def __init__(self, ground: Ground, ending: Ending) -> None:
        self._ground = ground
        self._ending = ending

    def settle(self, now: float) -> None:
        """Ready, not yet, or never."""
        ground = self._ground
        if ground.ready_at is not None or ground.drain is not None:
            return
        consuming = len(ground.registry.consuming())
        if consuming >= ground.registry.target or (consuming and self._is_over(now)):
            self._declare_ready(consuming, now)
        elif self._is_over(now):
            within = durations.brief(ground.config.boot_timeout.total_seconds())
            unsaid = f"none said why; is the server at {ground.config.display_url} reachable?"
            because = ground.last_error or unsaid
            self._ending.boot_failed(f"no worker was ready within {within}: {because}", now)

    def _is_over(self, now: float) -> bool:
        """Timed from the first code that was loaded: an import may take as long as it takes."""
        loaded_at = self._ground.generations.first_loaded_at
        timeout = self._ground.config.boot_timeout.total_seconds()
        return loaded_at is not None and now >= loaded_at + timeout

    def _declare_ready(self, workers: int, now: float) -> None:
        ground = self._ground
        ground.ready_at = now
        log.info(
            "pool ready: %d of %s, %s after the start",
            workers,
            counted(ground.registry.target, "worker"),
            durations.brief(now - ground.started_at),
        )
        ground.observe(PoolReady(workers, now))
