"""How many workers a pool had, by what was seen of it (pure)."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from supervisor.observer import PoolEvent, WorkerDied, WorkerReady


@dataclass(frozen=True, slots=True)
class Sample:
    """An answer of /status. Times are seconds of the monotonic clock."""

    asked_at: float
    answered_at: float
    ready: int
    target: int


def sample(status: dict[str, Any], asked_at: float, answered_at: float) -> Sample:
    """What an answer says about the capacity."""
    ready = sum(worker["state"] == "ready" for worker in status["workers"])
    return Sample(asked_at, answered_at, ready, status["supervisor"]["target"])


def between(samples: Iterable[Sample], begin: float, end: float) -> list[Sample]:
    """Those asked for and answered in that time."""
    return [each for each in samples if begin <= each.asked_at and each.answered_at <= end]


def widest_gap(samples: Sequence[Sample]) -> float:
    """The longest time, in seconds, in which nobody looked."""
    pairs = itertools.pairwise(samples)
    return max((later.answered_at - earlier.asked_at for earlier, later in pairs), default=0.0)


def ready_workers(events: Iterable[PoolEvent]) -> list[WorkerReady]:
    """The workers that got ready and did not die, in the order of their slots."""
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
