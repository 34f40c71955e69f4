"""Preload: the memory of a worker whose tasks import something heavy, with --preload and without.

The import is SQLAlchemy if it is installed (the dependency group `stress`), else a stand-in; the
report says which.
"""

import asyncio
import importlib.metadata
import importlib.util
import time
from dataclasses import dataclass

from stress.command import Settings
from stress.pool import pool
from stress.processes import parent_of, pss_of
from stress.report import Figure, Report
from stress.server import docket_name

#: After the pool is ready: its workers have run their loops.
SETTLE_SECONDS = 1.0

SWITCHES = {"preloaded": "--preload", "not preloaded": "--no-preload"}


@dataclass(frozen=True)
class PoolCost:
    """The cost of one pool: PSS in MB, and seconds from its start until it was ready."""

    workers: list[float]
    nursery: float
    supervisor: float
    seconds: float

    @property
    def together(self) -> float:
        """The PSS of all processes."""
        return sum(self.workers) + self.nursery + self.supervisor


def heavy_import() -> tuple[str, str]:
    """Choose a module that imports much and can be imported here; its name, and the import."""
    if importlib.util.find_spec("sqlalchemy") is None:
        return "heavy_imports_standard", "standard library (SQLAlchemy is missing)"
    return "heavy_imports", f"SQLAlchemy {importlib.metadata.version('sqlalchemy')}"


async def run(url: str, settings: Settings) -> Report:
    """Start `rounds` pools with each switch."""
    module, imported = heavy_import()
    figures: list[Figure] = []
    for name, switch in SWITCHES.items():
        costs = [
            await _cost(url, settings.processes, f"stress.runtime.{module}", switch)
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
        "imported": imported,
        "pools each way": settings.rounds,
    }
    return Report("preload", conditions, figures)


async def _cost(url: str, processes: int, module: str, switch: str) -> PoolCost:
    started = time.monotonic()
    async with (
        docket_name(url) as name,
        pool(
            url, name, processes=processes, tasks=f"{module}:nothing", options={switch: ""}
        ) as running,
    ):
        seconds = time.monotonic() - started
        await asyncio.sleep(SETTLE_SECONDS)
        workers = await running.workers_ready(processes)
        (nursery,) = pss_of({parent_of(pid) for pid in workers})
        (supervisor,) = pss_of([running.pid])
        return PoolCost(pss_of(workers), nursery, supervisor, seconds)
