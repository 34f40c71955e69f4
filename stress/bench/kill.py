"""Kill: one of two busy workers dies; when do its tasks start again, when is it replaced?"""

import asyncio
import os
import random
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from docket import Docket, Execution
from stress.bench.jobs import hold
from stress.bench.pool import Pool, Status, pool, ready_pids
from stress.bench.report import Figure, Report
from stress.bench.server import docket_name

TARGET_REDELIVERED_MS = 100
TARGET_READY_MS = 500

#: Random lengths, so that slots get free one after the other and not all at once.
TASK_SECONDS = (0.02, 0.2)
#: From the adds to the kill.
BUSY_SECONDS = 0.7


@dataclass(frozen=True)
class Start:
    """A line of the log that the tasks of `hold` write."""

    key: str
    pid: int
    at: float


@dataclass(frozen=True)
class Kill:
    """What one kill led to, in milliseconds after it."""

    first_redelivered: float
    replacement_ready: float
    redelivered: int


async def run(url: str, *, rounds: int, count: int) -> Report:
    """Args: url of the server; rounds, a kill each; count of tasks a round."""
    kills = [await _round(url, count) for _ in range(rounds)]
    first = [kill.first_redelivered for kill in kills]
    ready = [kill.replacement_ready for kill in kills]
    tasks = [float(kill.redelivered) for kill in kills]
    return Report(
        "kill",
        {"workers": 2, "tasks": count, "rounds": rounds},
        [
            Figure("kill to first redelivered start", first, "ms", at_most=TARGET_REDELIVERED_MS),
            Figure("kill to replacement ready", ready, "ms", at_most=TARGET_READY_MS),
            Figure("tasks redelivered", tasks, ""),
        ],
    )


async def _round(url: str, count: int) -> Kill:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "starts")
        async with (
            docket_name(url) as name,
            Docket(name, url) as docket,
            pool(url, name, processes=2, tasks="stress.bench.jobs:tasks") as running,
        ):
            docket.register(hold)
            executions = await asyncio.gather(
                *(docket.add(hold)(str(log), random.uniform(*TASK_SECONDS)) for _ in range(count))
            )
            await asyncio.sleep(BUSY_SECONDS)
            victim, killed_at, ready_at = await _kill_one(running)
            await _all_results(executions)
        again = _started_again(_starts(log), victim)
    if not again:
        raise RuntimeError("the killed worker ran nothing: more tasks are needed")
    return Kill(
        first_redelivered=(min(start.at for start in again) - killed_at) * 1000,
        replacement_ready=(ready_at - killed_at) * 1000,
        redelivered=len(again),
    )


async def _kill_one(running: Pool) -> tuple[int, float, float]:
    """The pid killed, when, and when the pool was full again (on the monotonic clock)."""
    status = await running.until(lambda status: len(ready_pids(status)) == 2, 5)
    victim = random.choice(ready_pids(status))
    killed_at = time.monotonic()
    os.kill(victim, signal.SIGKILL)

    def full_again(status: Status) -> bool:
        ready = ready_pids(status)
        return len(ready) == 2 and victim not in ready

    await running.until(full_again, 10)
    return victim, killed_at, time.monotonic()


async def _all_results(executions: Sequence[Execution]) -> None:
    """None is lost: every task ends, and with a result."""
    await asyncio.gather(*(execution.get_result() for execution in executions))


def _starts(log: Path) -> list[Start]:
    lines = [line.split() for line in log.read_text("utf-8").splitlines()]
    return [Start(key, int(pid), float(at)) for key, pid, at in lines]


def _started_again(starts: Sequence[Start], victim: int) -> list[Start]:
    """The starts elsewhere of tasks that the victim had started."""
    of_victim = {start.key for start in starts if start.pid == victim}
    return [start for start in starts if start.key in of_victim and start.pid != victim]
