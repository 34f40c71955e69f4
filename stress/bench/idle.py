"""Idle: the CPU of a pool with nothing to do, its calls to the server, and its wake-ups (Linux)."""

import asyncio
from collections import Counter

import psutil
from redis.asyncio import Redis

from docket.store.scripts import BEAT
from stress.command import Settings
from stress.pool import settled_pool
from stress.processes import cpu_percent
from stress.report import Figure, Limit, Report

TARGET_CPU_PERCENT = 0.5
#: Of a worker, those of its share of the steward's duties among them.
TARGET_COMMANDS = 2.0
TARGET_CALLS = 3.0
#: Of the supervisor: its ticks.
TARGET_WAKE_UPS = 4.0

#: After the pool is ready, until its start no longer shows.
SETTLE_SECONDS = 2.0


async def run(url: str, settings: Settings) -> Report:
    """Observe an idle pool, on a server that nobody else uses."""
    processes, seconds = settings.processes, settings.seconds
    cpu: list[float] = []
    commands: list[float] = []
    beats: list[float] = []
    wake_ups: list[float] = []
    async with settled_pool(
        url, processes=processes, tasks="stress.tasks:idle", seconds=SETTLE_SECONDS
    ) as (supervisor, pids):
        for _ in range(settings.rounds):
            used, seen, woken = await asyncio.gather(
                cpu_percent(pids, seconds),
                _monitor_commands(url, seconds),
                _wake_ups(supervisor.pid, seconds),
            )
            cpu.append(max(used))
            beats.append(seen["heartbeat"] / seconds / processes)
            commands.append((seen.total() - seen["heartbeat"]) / seconds / processes)
            wake_ups.append(woken / seconds)
    calls = [both + beat for both, beat in zip(commands, beats, strict=True)]
    return Report(
        "idle",
        {"workers": processes, "seconds": seconds, "rounds": settings.rounds},
        [
            _figure("CPU of the busiest worker", cpu, "% of a core", TARGET_CPU_PERCENT),
            _figure("commands of a worker", commands, "/s", TARGET_COMMANDS),
            Figure("heartbeats of a worker", beats, "/s"),
            _figure("both together", calls, "/s", TARGET_CALLS),
            _figure("wake-ups of the supervisor", wake_ups, "/s", TARGET_WAKE_UPS),
        ],
    )


def _figure(name: str, samples: list[float], unit: str, at_most: float) -> Figure:
    return Figure(name, samples, unit, Limit("median", at_most=at_most))


async def _wake_ups(pid: int, seconds: float) -> int:
    """Count how often a process went to sleep, and so was woken."""
    process = psutil.Process(pid)
    before = process.num_ctx_switches().voluntary
    await asyncio.sleep(seconds)
    return process.num_ctx_switches().voluntary - before


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
