"""Preload: what a worker costs in memory when its tasks import something heavy, with and without.

SQLAlchemy if it is installed (the dependency group `stress`), else what stands in for it, which the
report says.
"""

import asyncio
import importlib.metadata
import importlib.util
import time
from dataclasses import dataclass

from stress.bench.pool import pool, ready_pids
from stress.bench.server import docket_name
from stress.runtime.processes import parent_of, pss_of
from stress.runtime.report import Figure, Report
from stress.runtime.settings import Settings

#: After the pool is ready: its workers have run their loops.
SETTLE_SECONDS = 1.0

SWITCHES = {"preloaded": "--preload", "not preloaded": "--no-preload"}


@dataclass(frozen=True)
class Heavy:
    """A tasks module that imports much, and what that is."""

    module: str
    what: str


@dataclass(frozen=True)
class Cost:
    """What one pool cost: PSS in MB, and seconds from its start until it was ready."""

    workers: list[float]
    nursery: float
    supervisor: float
    seconds: float

    @property
    def together(self) -> float:
        """Of every process."""
        return sum(self.workers) + self.nursery + self.supervisor


def heavy() -> Heavy:
    """The heavy module that can be imported here."""
    if importlib.util.find_spec("sqlalchemy") is None:
        return Heavy("stress.runtime.heavy_standard", "standard library (SQLAlchemy is missing)")
    version = importlib.metadata.version("sqlalchemy")
    return Heavy("stress.runtime.heavy", f"SQLAlchemy {version}")


async def run(url: str, settings: Settings) -> Report:
    """Start `rounds` pools each way."""
    chosen = heavy()
    figures: list[Figure] = []
    for name, switch in SWITCHES.items():
        costs = [
            await _cost(url, settings.processes, chosen.module, switch)
            for _ in range(settings.rounds)
        ]
        workers = [pss for cost in costs for pss in cost.workers]
        figures += [
            Figure(f"PSS of a worker, {name}", workers, "MB"),
            Figure(f"PSS of the nursery, {name}", [cost.nursery for cost in costs], "MB"),
            Figure(f"PSS of the whole pool, {name}", [cost.together for cost in costs], "MB"),
            Figure(f"start to pool ready, {name}", [cost.seconds for cost in costs], "s"),
        ]
    conditions = {
        "workers": settings.processes,
        "imported": chosen.what,
        "pools each way": settings.rounds,
    }
    return Report("preload", conditions, figures)


async def _cost(url: str, processes: int, module: str, switch: str) -> Cost:
    started = time.monotonic()
    async with (
        docket_name(url) as name,
        pool(
            url, name, processes=processes, tasks=f"{module}:nothing", options={switch: ""}
        ) as running,
    ):
        seconds = time.monotonic() - started
        await asyncio.sleep(SETTLE_SECONDS)
        workers = ready_pids(await running.until(lambda status: True, 5))
        (nursery,) = pss_of({parent_of(pid) for pid in workers})
        (supervisor,) = pss_of([running.pid])
        return Cost(pss_of(workers), nursery, supervisor, seconds)
