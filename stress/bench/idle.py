"""Idle: the CPU of a pool with nothing to do, and its commands to the server."""

import asyncio
from collections import Counter

from redis.asyncio import Redis

from docket.store.scripts import BEAT
from stress.command import Settings
from stress.pool import settled_pool
from stress.processes import cpu_percent
from stress.report import Figure, Limit, Report

TARGET_CPU_PERCENT = 0.5
TARGET_COMMANDS = 2.0

#: After the pool is ready, until its start no longer shows.
SETTLE_SECONDS = 2.0


async def run(url: str, settings: Settings) -> Report:
    """Observe an idle pool, on a server that nobody else uses."""
    processes, seconds = settings.processes, settings.seconds
    cpu: list[float] = []
    commands: list[float] = []
    beats: list[float] = []
    async with settled_pool(
        url, processes=processes, tasks="stress.tasks:idle", seconds=SETTLE_SECONDS
    ) as (_, pids):
        for _ in range(settings.rounds):
            used, seen = await asyncio.gather(
                cpu_percent(pids, seconds), _monitor_commands(url, seconds)
            )
            cpu.append(max(used))
            beats.append(seen["heartbeat"] / seconds / processes)
            commands.append((seen.total() - seen["heartbeat"]) / seconds / processes)
    few_commands = Limit("median", at_most=TARGET_COMMANDS)
    little_cpu = Limit("median", at_most=TARGET_CPU_PERCENT)
    return Report(
        "idle",
        {"workers": processes, "seconds": seconds, "rounds": settings.rounds},
        [
            Figure("CPU of the busiest worker", cpu, "% of a core", little_cpu),
            Figure("commands of a worker", commands, "/s", few_commands),
            Figure("heartbeats of a worker", beats, "/s"),
        ],
    )


async def _monitor_commands(url: str, seconds: float) -> Counter[str]:
    """Count the commands that clients send, by name; those inside of scripts are not theirs."""
    seen: Counter[str] = Counter()
    async with Redis.from_url(url) as client, client.monitor() as monitor:
        try:
            async with asyncio.timeout(seconds):
                async for command in monitor.listen():
                    if command["client_type"] != "lua":
                        seen[_name(command["command"])] += 1
        except TimeoutError:
            return seen
    raise RuntimeError("the server ended the connection on which its commands were monitored")


def _name(command: str) -> str:
    return "heartbeat" if BEAT.digest in command else command.partition(" ")[0].lower()
