"""Idle: what a pool with nothing to do costs in CPU and in commands to the server."""

import asyncio
from collections import Counter

import psutil
from redis.asyncio import Redis

from docket.store.scripts import BEAT
from stress.bench.pool import pool, ready_pids
from stress.bench.report import Figure, Report
from stress.bench.server import docket_name

TARGET_CPU_PERCENT = 0.5
TARGET_COMMANDS = 2.0

#: After the pool is ready, until its start no longer shows.
SETTLE_SECONDS = 2.0


async def run(url: str, *, rounds: int, processes: int, seconds: float) -> Report:
    """Args: url of a server that nobody else uses; rounds; workers; seconds of a round."""
    cpu: list[float] = []
    commands: list[float] = []
    beats: list[float] = []
    async with (
        docket_name(url) as name,
        pool(url, name, processes=processes, tasks="stress.bench.jobs:tasks") as running,
    ):
        await asyncio.sleep(SETTLE_SECONDS)
        pids = ready_pids(await running.until(lambda status: True, 5))
        for _ in range(rounds):
            before = _cpu_seconds(pids)
            seen = await _watch(url, seconds)
            after = _cpu_seconds(pids)
            cpu.append(max((after[pid] - before[pid]) / seconds * 100 for pid in pids))
            beats.append(seen["heartbeat"] / seconds / processes)
            commands.append((seen.total() - seen["heartbeat"]) / seconds / processes)
    return Report(
        "idle",
        {"workers": processes, "seconds": seconds, "rounds": rounds},
        [
            Figure("CPU of the busiest worker", cpu, "% of a core", at_most=TARGET_CPU_PERCENT),
            Figure("commands of a worker", commands, "/s", at_most=TARGET_COMMANDS),
            Figure("heartbeats of a worker", beats, "/s"),
        ],
    )


def _cpu_seconds(pids: list[int]) -> dict[int, float]:
    times = {pid: psutil.Process(pid).cpu_times() for pid in pids}
    return {pid: spent.user + spent.system for pid, spent in times.items()}


async def _watch(url: str, seconds: float) -> Counter[str]:
    """What clients sent in `seconds`, by name; commands inside of scripts are not theirs."""
    seen: Counter[str] = Counter()
    async with Redis.from_url(url) as client, client.monitor() as monitor:
        try:
            async with asyncio.timeout(seconds):
                async for command in monitor.listen():
                    if command["client_type"] != "lua":
                        seen[_name(command["command"])] += 1
        except TimeoutError:
            return seen
    raise RuntimeError("the server ended the connection on which its commands were watched")


def _name(command: str) -> str:
    return "heartbeat" if BEAT.digest in command else command.partition(" ")[0].lower()
