"""Decide that the pool is up: all of it, or what is there when the time to boot is over."""

from supervisor.observer import PoolReady
from supervisor.pool.shutdown import Shutdown
from supervisor.pool.state.pool_state import PoolState, log
from supervisor.text import durations
from supervisor.text.plurals import pluralize


class BootMonitor:
    """Idle once the pool was ready: from then on a lost server is waited for, for ever."""

    def __init__(self, pool_state: PoolState, shutdown: Shutdown) -> None:
        self._pool_state = pool_state
        self._shutdown = shutdown

    def settle(self, now: float) -> None:
        """Declare the pool ready, or its boot failed, as soon as it is either."""
        pool_state = self._pool_state
        if pool_state.ready_at is not None or pool_state.drain is not None:
            return
        consuming = len(pool_state.registry.consuming())
        if consuming >= pool_state.registry.target or (consuming and self._is_over(now)):
            self._declare_ready(consuming, now)
        elif self._is_over(now):
            within = durations.brief(pool_state.config.boot_timeout.total_seconds())
            unknown = f"none said why; is the server at {pool_state.config.display_url} reachable?"
            error = pool_state.last_error or unknown
            self._shutdown.boot_failed(f"no worker was ready within {within}: ", now, error)

    def _is_over(self, now: float) -> bool:
        """Return True once the time is over, from the first loaded code: an import has no limit."""
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
