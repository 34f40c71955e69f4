"""Sees whether the pool is up: all of it, or what is there when the time to boot is over."""

from supervisor.observer import PoolReady
from supervisor.pool.shutdown import Shutdown
from supervisor.pool.state.pool_state import PoolState, log
from supervisor.text import durations
from supervisor.text.plurals import pluralize


class BootMonitor:
    """Idle once the pool was ready: from then on a lost server is waited for, for ever."""

    def __init__(self, pool_state: PoolState, ending: Shutdown) -> None:
        self._pool_state = pool_state
        self._ending = ending

    def settle(self, now: float) -> None:
        """Ready, not yet, or never."""
        pool_state = self._pool_state
        if pool_state.ready_at is not None or pool_state.drain is not None:
            return
        consuming = len(pool_state.registry.consuming())
        if consuming >= pool_state.registry.target or (consuming and self._is_over(now)):
            self._declare_ready(consuming, now)
        elif self._is_over(now):
            within = durations.brief(pool_state.config.boot_timeout.total_seconds())
            unsaid = f"none said why; is the server at {pool_state.config.display_url} reachable?"
            because = pool_state.last_error or unsaid
            self._ending.boot_failed(f"no worker was ready within {within}: {because}", now)

    def _is_over(self, now: float) -> bool:
        """Timed from the first code that was loaded: an import may take as long as it takes."""
        loaded_at = self._pool_state.nurseries.first_loaded_at
        timeout = self._pool_state.config.boot_timeout.total_seconds()
        return loaded_at is not None and now >= loaded_at + timeout

    def _declare_ready(self, workers: int, now: float) -> None:
        pool_state = self._pool_state
        pool_state.ready_at = now
        log.info(
            "pool ready: %d of %s, %s after the start",
            workers,
            pluralize(pool_state.registry.target, "worker"),
            durations.brief(now - pool_state.started_at),
        )
        pool_state.observe(PoolReady(workers, now))
