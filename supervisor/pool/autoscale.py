"""Have the size of the pool follow its work, while it has bounds rather than a fixed size."""

from ipc.messages import Backlog
from supervisor.pool.busy_meter import BusyMeter
from supervisor.pool.scale import Scaler
from supervisor.pool.state.pool_state import PoolState
from supervisor.pool.state.scaling import Load


class Autoscaler:
    """The service of `--processes LEAST:MOST`; idle for a pool of a fixed size."""

    def __init__(self, pool_state: PoolState, scaler: Scaler) -> None:
        self._pool_state = pool_state
        self._scaler = scaler
        self._busy_meter = BusyMeter(pool_state)

    def tick(self, now: float) -> None:
        """Look at the load, and change the size if it is time to."""
        scaling = self._pool_state.scaling
        if scaling is None or self._pool_state.drain is not None:
            return
        change = scaling.decide(self._load(now), now)
        if change is not None:
            self._pool_state.totals.scalings[change.direction] += 1
            self._scaler.follow(change)

    def _load(self, now: float) -> Load:
        pool_state = self._pool_state
        backlog = pool_state.present_backlog(now)
        held_because = self._hindrance(now)
        if backlog is None:
            held_because, backlog = held_because or "the backlog is not known", Backlog()
        serving = [each for each in pool_state.registry.alive() if each.serves(now)]
        # Nothing that waits on a paused docket waits for a place.
        wait = 0.0 if backlog.docket_paused else backlog.oldest_ready_seconds or 0.0
        return Load(
            processes=pool_state.registry.target,
            serving=len(serving),
            busy=self._busy_meter.measure(serving, now),
            wait_seconds=wait,
            wait_read_at=pool_state.backlog_at,
            held_because=held_because,
        )

    def _hindrance(self, now: float) -> str | None:
        """The reason for which nothing may be read from the load now, if there is one."""
        pool_state = self._pool_state
        slots = pool_state.registry.slots()
        away = pool_state.server_is_away or pool_state.server_lost is not None
        hindrances = (
            (pool_state.ready_at is None, "the pool boots"),
            (away, "the server is away"),
            (any(each.crash_loops(now) for each in slots), "workers crash again and again"),
            (pool_state.reloading_since is not None, "a reload is under way"),
            (any(each.lacks_worker for each in slots), "workers start"),
        )
        return next((reason for holds, reason in hindrances if holds), None)
