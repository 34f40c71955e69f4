"""The report of /status, as plain values."""

import os
from collections import Counter
from typing import Any

from msgspec import structs

from ipc.messages import WorkerCounters
from supervisor.pool.state.pool_state import PoolState
from supervisor.pool.state.process_control import ProcessUsage
from supervisor.pool.state.scaling import ScalingPolicy
from supervisor.pool.state.worker_registry import Slot, WorkerProcess, WorkerState
from supervisor.task_counters import TASK_COUNTERS

#: The words of docket_supervisor_workers{state}.
WORKER_STATES = ("starting", "ready", "waiting", "silent", "draining", "dead")

#: The counters in the entry of each worker.
_SHOWN = tuple(TASK_COUNTERS)[:5]


def report(pool_state: PoolState, now: float) -> dict[str, Any]:
    """Make the report at `now`, in the format of docs/operations/monitoring.md."""
    current = pool_state.nurseries.current
    return {
        "supervisor": {
            "pid": os.getpid(),
            "state": pool_state.state,
            "uptime_seconds": now - pool_state.started_at,
            "generation": current.generation if current else 0,
            "target": pool_state.registry.target,
            "docket": pool_state.config.docket,
            "url": pool_state.config.display_url,
            "reload_error": pool_state.reload_error,
            "ready_workers": pool_state.ready_slots(now),
            "not_ready_because": pool_state.not_ready_because(now),
            "server_away": next(iter(pool_state.waiting_for()), None),
            "scaling": _scaling(pool_state.scaling, now),
            "drain_seconds_left": pool_state.drain and pool_state.drain.seconds_left(now),
        },
        "server": None
        if pool_state.server_policy is None
        else {
            "maxmemory_policy": pool_state.server_policy.maxmemory_policy,
            "appendonly": pool_state.server_policy.appendonly,
        },
        "backlog": _backlog(pool_state, now),
        "workers": [
            _worker(slot, each, pool_state.process_control.usage(each), now)
            for slot, each in _rows(pool_state)
        ],
        "totals": _totals(pool_state),
    }


def _scaling(policy: ScalingPolicy | None, now: float) -> dict[str, Any] | None:
    if policy is None:
        return None
    change = policy.last_change
    return {
        "least": policy.bounds.least,
        "most": policy.bounds.most,
        "held_because": policy.held_because,
        "last_change": None
        if change is None
        else {
            "before": change.before,
            "processes": change.processes,
            "reason": change.reason,
            "seconds_ago": now - change.at,
        },
    }


def _backlog(pool_state: PoolState, now: float) -> dict[str, Any] | None:
    backlog = pool_state.present_backlog(now)
    if backlog is None:
        return None
    return {**structs.asdict(backlog), "age_seconds": now - pool_state.backlog_at}


def worker_states(pool_state: PoolState, now: float) -> Counter[str]:
    """Count the workers by state, and the slots with a dead one.

    Those that were ready and cannot claim now are waiting (for the server) or silent.
    """
    counted: Counter[str] = Counter(dict.fromkeys(WORKER_STATES, 0))
    counted.update(_state(worker, now) for _, worker in _rows(pool_state))
    unfilled = sum(each.current is None and each.is_empty for each in pool_state.registry.slots())
    counted[WorkerState.DEAD.shown] += unfilled
    return counted


def _state(worker: WorkerProcess, now: float) -> str:
    if worker.state is not WorkerState.READY or worker.serves(now):
        return worker.state.shown
    return "silent" if worker.waiting is None else "waiting"


def _rows(pool_state: PoolState) -> list[tuple[Slot | None, WorkerProcess]]:
    """Every live worker, and the last one of each empty slot, in the order of slots."""
    registry = pool_state.registry
    dead = [s.current for s in registry.slots() if s.current is not None and not s.current.alive]
    workers = [each for each in (*registry.alive(), *dead) if not each.adopts_only]
    workers.sort(key=lambda worker: (worker.slot, worker.number))
    return [(registry.slot(worker.slot), worker) for worker in workers]


def _worker(
    slot: Slot | None, worker: WorkerProcess, usage: ProcessUsage, now: float
) -> dict[str, Any]:
    beat = worker.heartbeat
    alive = worker.alive
    until = now if worker.died_at is None else worker.died_at
    counters = beat.counters if beat else WorkerCounters()
    tasks = beat.in_flight if beat and alive else []
    return {
        "slot": worker.slot,
        "pid": worker.pid,
        "name": worker.consumers[-1] if worker.consumers else worker.name,
        "generation": worker.generation,
        "state": worker.state.shown,
        "ready": worker.serves(now),
        "waiting": worker.waiting if alive else None,
        "uptime_seconds": until - (worker.spawned_at or worker.requested_at),
        "restarts": 0 if slot is None else slot.restarts,
        "in_flight": beat.in_flight_total if beat and alive else 0,
        "tasks": [
            {"key": each.key, "function": each.function, "seconds": each.seconds} for each in tasks
        ],
        "loop_lag_seconds": beat.loop_lag_seconds if beat else None,
        "heartbeat_age_seconds": None if worker.heartbeat_at is None else now - worker.heartbeat_at,
        "rss_bytes": worker.rss_bytes,
        "cpu_percent": usage.cpu_percent,
        "cpu_seconds": usage.cpu_seconds,
        "open_descriptors": usage.open_descriptors,
        **{name: getattr(counters, name) for name in _SHOWN},
    }


def _totals(pool_state: PoolState) -> dict[str, int]:
    sums = pool_state.totals.sums()
    order = (*_SHOWN, "poisoned", "crashes", "restarts", "stalls")
    return {name: sums[name] for name in order}
