"""The number of workers of a pool, by its events and its /status (pure)."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from supervisor.observer import PoolEvent, WorkerDied, WorkerReady


@dataclass(frozen=True, slots=True)
class CapacitySample:
    """The capacity in an answer of /status. Times are seconds of the monotonic clock."""

    asked_at: float
    answered_at: float
    ready: int
    target: int


def sample(status: dict[str, Any], asked_at: float, answered_at: float) -> CapacitySample:
    """Count the ready workers of an answer."""
    ready = sum(worker["state"] == "ready" for worker in status["workers"])
    return CapacitySample(asked_at, answered_at, ready, status["supervisor"]["target"])


def between(samples: Iterable[CapacitySample], begin: float, end: float) -> list[CapacitySample]:
    """Select the samples requested and answered in that time."""
    return [each for each in samples if begin <= each.asked_at and each.answered_at <= end]


def widest_gap(samples: Sequence[CapacitySample]) -> float:
    """The longest time without an answer, in seconds."""
    pairs = itertools.pairwise(samples)
    return max((later.answered_at - earlier.asked_at for earlier, later in pairs), default=0.0)


def ready_workers(events: Iterable[PoolEvent]) -> list[WorkerReady]:
    """Find the workers that got ready and did not die, in the order of their slots."""
    ready: dict[int, WorkerReady] = {}
    for event in events:
        match event:
            case WorkerReady(pid=pid):
                ready[pid] = event
            case WorkerDied(pid=int(pid)):
                ready.pop(pid, None)
            case _:
                pass
    return sorted(ready.values(), key=lambda worker: worker.slot)
