"""Import: the cost of `import docket` in a process that adds tasks, and of what it needs."""

import asyncio
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator

from stress.command import Settings
from stress.program import environment
from stress.report import Figure, Limit, Report

TARGET_MS = 120.0
#: What docket cannot do without, and takes most of the time.
FLOOR = "import asyncio, msgspec, redis.asyncio"
DOCKET = "import docket"
WORKER = "import docket; docket.Worker"
#: Parts of docket that only a worker needs.
OF_WORKERS = ("docket.worker", "docket.services", "docket.cli")
#: Modules in the report: the costliest by their own time.
MOST_SHOWN = 12


async def run(url: str, settings: Settings) -> Report:
    """Import in a fresh process each time; no server is used."""
    del url
    return await asyncio.to_thread(_measure, settings.rounds)


def _measure(rounds: int) -> Report:
    _cpu_ms(WORKER)  # writes the bytecode of what was changed
    samples: dict[str, list[float]] = defaultdict(list)
    own: dict[str, list[float]] = defaultdict(list)
    of_workers: list[float] = []
    for _ in range(rounds):
        bare = _cpu_ms("pass")
        for statement in (FLOOR, DOCKET, WORKER):
            samples[statement].append(_cpu_ms(statement) - bare)
        costs = dict(_own_ms(DOCKET))
        of_workers.append(sum(_is_of_workers(name) for name in costs))
        for name, cost in costs.items():
            own[name].append(cost)
    ratios = [ours / floor for ours, floor in zip(samples[DOCKET], samples[FLOOR], strict=True)]
    costliest = sorted(own, key=lambda name: statistics.median(own[name]), reverse=True)
    return Report(
        "import",
        {"rounds": rounds},
        [
            Figure(
                "CPU of import docket", samples[DOCKET], "ms", Limit("median", at_most=TARGET_MS)
            ),
            Figure("CPU of importing what it needs", samples[FLOOR], "ms"),
            Figure("the one / the other", ratios),
            Figure("CPU of import docket with Worker", samples[WORKER], "ms"),
            Figure("modules of workers in a producer", of_workers, "", Limit("most", at_most=0)),
            *(Figure(f"own time of {name}", own[name], "ms") for name in costliest[:MOST_SHOWN]),
        ],
    )


def _cpu_ms(statement: str) -> float:
    """Run a statement in a fresh process, and return the CPU of the process."""
    process = subprocess.Popen([sys.executable, "-c", statement], env=environment())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{statement!r} ended with {process.returncode}")
    return (usage.ru_utime + usage.ru_stime) * 1000


def _own_ms(statement: str) -> Iterator[tuple[str, float]]:
    """Yield the modules that a statement imports, each with its own time by the clock."""
    words = [sys.executable, "-X", "importtime", "-c", statement]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=True)
    for line in done.stderr.splitlines():
        cost, _, rest = line.removeprefix("import time:").partition("|")
        if rest and cost.strip().isdecimal():
            yield rest.rpartition("|")[2].strip(), int(cost) / 1000


def _is_of_workers(module: str) -> bool:
    return any(module == part or module.startswith(f"{part}.") for part in OF_WORKERS)
