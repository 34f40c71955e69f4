"""Replace workers that ran many tasks or hold much memory: one at a time, the successor first."""

from supervisor.pool.state.pool_state import PoolState, log
from supervisor.pool.state.replacement import Reason, Replacement
from supervisor.pool.state.worker_registry import WorkerProcess
from supervisor.text import sizes
from supervisor.text.plurals import pluralize


class Recycler:
    """The service of --max-tasks and --max-rss."""

    def __init__(self, pool_state: PoolState) -> None:
        self._pool_state = pool_state
        self._warned = False

    def ready(self, worker: WorkerProcess) -> None:
        """Exempt a worker that is over the limit from the start: it would be replaced for ever."""
        most = self._pool_state.config.max_rss
        if most is None or worker.rss_bytes <= self._bound(most, worker):
            return
        worker.exempt_from_rss = True
        if not self._warned:
            self._warned = True
            log.warning(
                "%s has %s of memory when it is ready, --max-rss is %s: such a worker is not"
                " recycled for its memory",
                worker.describe(),
                sizes.brief(worker.rss_bytes),
                sizes.brief(most),
            )

    def settle(self) -> None:
        """Have the next worker replaced that is over a limit, if none is being replaced."""
        pool_state = self._pool_state
        config = pool_state.config
        if config.max_tasks is None and config.max_rss is None:
            return
        slots = pool_state.registry.slots()
        if pool_state.reloading_since is not None or any(slot.replacement for slot in slots):
            return
        for slot in slots:
            reason = None if slot.current is None else self._reason(slot.current)
            if reason is not None and slot.current is not None:
                log.info("%s is recycled: %s", slot.current.describe(), reason)
                slot.replacement = Replacement(Reason.RECYCLE, pool_state.new_backoff())
                return

    def _reason(self, worker: WorkerProcess) -> str | None:
        config, beat = self._pool_state.config, worker.heartbeat
        if beat is None or not worker.consumes:
            return None
        started = beat.counters.started
        if config.max_tasks is not None and started >= self._bound(config.max_tasks, worker):
            return f"it has started {pluralize(started, 'task')}"
        if config.max_rss is None or worker.exempt_from_rss:
            return None
        if worker.rss_bytes > self._bound(config.max_rss, worker):
            return f"it has {sizes.brief(worker.rss_bytes)} of memory"
        return None

    def _bound(self, most: int, worker: WorkerProcess) -> float:
        return most * (1 - self._pool_state.config.recycle_jitter * worker.jitter)
