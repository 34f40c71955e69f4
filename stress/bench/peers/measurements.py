"""The measurements: each is the same for every contestant, and returns figures by their rows."""

import asyncio
import contextlib
import math
import signal
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from stress.bench.peers import traces
from stress.bench.peers.arena import Arena
from stress.bench.peers.contestant import AdapterFailed, Contestant, Workers
from stress.processes import cpu_seconds, pss_of, send
from stress.report import percentile
from stress.waiting import eventually

Figures = dict[str, float]

#: In MB, the unit of pss_of.
MIB = (1 << 20) / 1e6
_LOOK_SECONDS = 0.005
#: For a worker to start and run a first task.
_STARTED_SECONDS = 40.0
#: For a process to take one of the first tasks, before more are added.
_WARM_SECONDS = 2.0
#: Of a drain that is measured, at most: a slow peer does not run its whole backlog.
_DRAIN_SECONDS = 15.0
#: Of the backlog, at least this much must run while it is measured.
_LEAST_SHARE = 0.02
#: After the start of idle workers, until it no longer shows.
_SETTLE_SECONDS = 3.0
_SPREAD_SECONDS = 5.0
#: After the last due time, or the last paced add.
_LATE_SECONDS = 15.0
#: Tasks of a kill and their length: two processes of ten places take them in two goes.
_LINGERING = 40
_LINGER_SECONDS = 1.0
#: From the moment that both processes run tasks to the kill.
_BUSY_SECONDS = 0.4


@dataclass(frozen=True)
class Sizes:
    """The size of a comparison.

    Arguments:
        scale: factor of every number of tasks.
        idle_seconds: length of an observation of idle workers.
        kill_seconds: from a kill to the end of the patience with tasks that have not ended.
    """

    scale: float = 1.0
    idle_seconds: float = 10.0
    kill_seconds: float = 90.0

    def of(self, count: int) -> int:
        """Scale a number of tasks."""
        return max(round(count * self.scale), 20)


Measure = Callable[[Contestant, Arena, Sizes], Awaitable[Figures]]


@dataclass(frozen=True)
class Measurement:
    """One measurement, and the rows that it fills.

    Arguments:
        name: as `--rows` has it, and the catalogue in `absent`.
        rows: name -> unit; the unit says which way is better (Row in table.py).
        once: it is measured in the first round only, since it hardly varies or takes long.
    """

    name: str
    rows: Mapping[str, str]
    measure: Measure
    once: bool = False


async def _window(
    folder: Path, workers: Workers, arena: Arena, processes: int, total: int
) -> Figures:
    """Take rate and CPU from when every process runs tasks to the end, or for a limited time."""
    await _all_running(folder, workers, processes, total)
    pids = workers.pids()
    cpu, server = _cpu(pids), await arena.cpu_seconds()
    # Counted after the CPU: what runs in between is in neither.
    opened, before = time.monotonic(), _runs(traces.slots(folder))
    while _runs(seen := traces.slots(folder)) < total:
        workers.check()
        if time.monotonic() > opened + _DRAIN_SECONDS:
            break
        await asyncio.sleep(_LOOK_SECONDS)
    cpu, server = _cpu(pids) - cpu, await arena.cpu_seconds() - server
    first, last = min(each.first for each in seen), max(each.last for each in seen)
    if (done := _runs(seen) - before) > total * _LEAST_SHARE:
        cost = {"worker": cpu / done * 1e6, "server": server / done * 1e6}
        return {"rate": done / (last - opened), **cost}
    if _runs(seen) == total and last > first:
        # Most was run before every process was there: the rate is that of the whole backlog.
        return {"rate": total / (last - first)}
    raise AdapterFailed(f"{done} tasks ran within {_DRAIN_SECONDS:g} s: {workers.printed()}")


async def _all_running(folder: Path, workers: Workers, processes: int, total: int) -> None:
    """Wait until each process has run a task, or one of them has run all."""

    async def are_running() -> bool:
        workers.check()
        seen = traces.slots(folder)
        return len(seen) >= processes or _runs(seen) >= total

    try:
        await eventually(are_running, _STARTED_SECONDS, every=_LOOK_SECONDS)
    except TimeoutError:
        seen = len(traces.slots(folder))
        raise AdapterFailed(
            f"{seen} of {processes} processes ran a task within {_STARTED_SECONDS:g} s: "
            f"{workers.printed()}"
        ) from None


def _runs(slots: list[traces.Slot]) -> int:
    return sum(each.runs for each in slots)


def _cpu(pids: list[int]) -> float:
    total = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += cpu_seconds(pid)
    return total


def drain(processes: int, concurrency: int) -> Measurement:
    """Make the measurement of the speed at which a backlog of no-op tasks is run."""
    name = f"drain {processes}p c{concurrency}"
    has_cpu = (processes, concurrency) == (1, 10)
    rows = {name: "/s"}
    if has_cpu:
        rows |= {"CPU a task, worker": "us", "CPU a task, server": "us"}

    async def measure(contestant: Contestant, arena: Arena, sizes: Sizes) -> Figures:
        async with _fresh(arena) as folder:
            backlog = sizes.of(contestant.peer.backlog)
            total = round((await contestant.add(folder, "bulk", backlog))["added"])
            async with contestant.working(folder, processes, concurrency) as workers:
                found = await _window(folder, workers, arena, processes, total)
        figures = {name: found.pop("rate")}
        if has_cpu:
            figures |= {f"CPU a task, {where}": used for where, used in found.items()}
        return figures

    return Measurement(name, rows, measure)


async def _single(contestant: Contestant, arena: Arena, sizes: Sizes) -> Figures:
    async with _fresh(arena) as folder:
        told = await contestant.add(folder, "single", sizes.of(3_000))
    return {"enqueue one by one": told["measured"] / told["seconds"]}


async def _bulk(contestant: Contestant, arena: Arena, sizes: Sizes) -> Figures:
    async with _fresh(arena) as folder:
        before = await arena.cpu_seconds()
        told = await contestant.add(folder, "bulk", sizes.of(min(contestant.peer.backlog, 20_000)))
        used = await arena.cpu_seconds() - before
    return {
        "enqueue in bulk": told["measured"] / told["seconds"],
        "CPU an add in bulk, producer": told["cpu"] / told["measured"] * 1e6,
        "CPU an add in bulk, server": used / told["added"] * 1e6,
    }


async def _delays(
    contestant: Contestant, arena: Arena, way: str, count: int, seconds: float
) -> list[float]:
    """Start a worker, add stamps, and return their delays in milliseconds."""
    options = {"scheduled": way == "scheduled"}
    async with _fresh(arena) as folder, contestant.working(folder, 1, 10, **options) as workers:
        await _warm(contestant, folder, workers, 1)
        await contestant.add(folder, way, count, seconds=seconds)
        end = time.monotonic() + seconds + _LATE_SECONDS
        while len(found := traces.delays(folder)) < count and time.monotonic() < end:
            workers.check()
            await asyncio.sleep(_LOOK_SECONDS)
        if len(found) < count:
            raise AdapterFailed(f"{len(found)} of {count} tasks ran: {workers.printed()}")
        return [each * 1000 for each in found]


async def _latency(contestant: Contestant, arena: Arena, sizes: Sizes) -> Figures:
    found = await _delays(contestant, arena, "paced", sizes.of(300), 0.0)
    return {f"latency p{each}": percentile(found, each) for each in (50, 99)}


async def _lateness(contestant: Contestant, arena: Arena, sizes: Sizes) -> Figures:
    found = await _delays(contestant, arena, "scheduled", sizes.of(500), _SPREAD_SECONDS)
    return {f"lateness of scheduled p{each}": percentile(found, each) for each in (50, 99)}


async def _warm(contestant: Contestant, folder: Path, workers: Workers, processes: int) -> None:
    """Wait until each of the processes has run a task; more are added until then."""

    async def has_run() -> bool:
        workers.check()
        return len(traces.slots(folder)) >= processes

    end = time.monotonic() + _STARTED_SECONDS
    while not await has_run():
        if time.monotonic() > end:
            raise AdapterFailed(f"no task ran in {_STARTED_SECONDS:g} s: {workers.printed()}")
        await contestant.add(folder, "bulk", 20 * processes)
        with contextlib.suppress(TimeoutError):
            await eventually(has_run, _WARM_SECONDS, every=_LOOK_SECONDS)


async def _memory(contestant: Contestant, arena: Arena, _sizes: Sizes) -> Figures:
    figures: Figures = {}
    for processes in (1, 2):
        async with (
            _fresh(arena) as folder,
            contestant.working(folder, processes, 10) as workers,
        ):
            await _warm(contestant, folder, workers, processes)
            await asyncio.sleep(_SETTLE_SECONDS)
            found = sum(pss_of(workers.pids())) / MIB
        figures[f"memory, {processes}p"] = found
    return figures


async def _idle(contestant: Contestant, arena: Arena, sizes: Sizes) -> Figures:
    async with _fresh(arena) as folder, contestant.working(folder, 1, 10) as workers:
        await _warm(contestant, folder, workers, 1)
        await asyncio.sleep(_SETTLE_SECONDS)
        calls = await arena.calls(sizes.idle_seconds)
        workers.check()
    return {"idle server calls": calls / sizes.idle_seconds}


async def _kill(contestant: Contestant, arena: Arena, sizes: Sizes) -> Figures:
    """Kill one of two processes that run tasks, and look what becomes of those."""
    async with _fresh(arena) as folder:
        async with contestant.working(folder, 2, 10, durable=True) as workers:
            await _warm(contestant, folder, workers, 2)
            # Beside the look for a victim: on a busy machine the tasks end before their producer.
            adding = asyncio.create_task(_add_lingering(contestant, folder))
            try:
                victim = await _busy_process(folder)
                workers.pids()
                killed_at = time.monotonic()
                send([victim], signal.SIGKILL)
            finally:
                await adding
            await _settled(folder, killed_at + sizes.kill_seconds)
        return after_kill(traces.fates(folder), victim, killed_at)


async def _add_lingering(contestant: Contestant, folder: Path) -> None:
    await contestant.add(folder, "linger", _LINGERING, seconds=_LINGER_SECONDS, durable=True)


async def _busy_process(folder: Path) -> int:
    """Wait until two processes run tasks, or one alone for long, and choose one that does."""
    end = time.monotonic() + _STARTED_SECONDS
    while True:
        running = _running(folder)
        since_first = time.monotonic() - min((at for _, at in running), default=math.inf)
        if len({pid for pid, _ in running}) > 1 and since_first > _BUSY_SECONDS:
            break
        if running and since_first > _LINGER_SECONDS * 0.8:
            break
        if time.monotonic() > end:
            raise AdapterFailed("no task that lingers was started")
        await asyncio.sleep(_LOOK_SECONDS)
    return max(running, key=lambda each: each[1])[0]


def _running(folder: Path) -> list[tuple[int, float]]:
    found = traces.fates(folder).values()
    return [fate.starts[-1] for fate in found if len(fate.starts) > len(fate.ends)]


async def _settled(folder: Path, end: float) -> None:
    """Wait until every task has ended, at most until `end`; then for needless second runs."""
    while time.monotonic() < end:
        found = traces.fates(folder)
        if len(found) == _LINGERING and all(fate.ends for fate in found.values()):
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(2 * _LINGER_SECONDS)


def after_kill(found: Mapping[int, traces.Fate], victim: int, killed_at: float) -> Figures:
    """Judge what became of the tasks: not ended yet, ended twice, and when started again."""
    cut_short = [
        fate
        for fate in found.values()
        if any(pid == victim for pid, _ in fate.starts)
        and not any(pid == victim for pid, _ in fate.ends)
    ]
    again = [
        min(at for at in late)
        for fate in cut_short
        if (late := [at for pid, at in fate.starts if at > killed_at and pid != victim])
    ]
    figures: Figures = {
        "killed: tasks cut short": len(cut_short),
        "killed: tasks lost or waiting": _LINGERING
        - sum(bool(fate.ends) for fate in found.values()),
        "killed: tasks run twice": sum(len(fate.ends) > 1 for fate in found.values()),
    }
    if again:
        figures["killed: first redelivery"] = min(again) - killed_at
        figures["killed: last redelivery"] = max(again) - killed_at
    return figures


@contextlib.asynccontextmanager
async def _fresh(arena: Arena) -> AsyncGenerator[Path]:
    """Provide a folder for traces, and an empty server."""
    await arena.clear()
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        yield Path(folder)


MEASUREMENTS = (
    *(drain(processes, concurrency) for processes in (1, 2) for concurrency in (10, 100)),
    Measurement("single", {"enqueue one by one": "/s"}, _single),
    Measurement(
        "bulk",
        {
            "enqueue in bulk": "/s",
            "CPU an add in bulk, producer": "us",
            "CPU an add in bulk, server": "us",
        },
        _bulk,
    ),
    Measurement("latency", {"latency p50": "ms", "latency p99": "ms"}, _latency),
    Measurement(
        "lateness",
        {"lateness of scheduled p50": "ms", "lateness of scheduled p99": "ms"},
        _lateness,
    ),
    Measurement("memory", {"memory, 1p": "MiB", "memory, 2p": "MiB"}, _memory, once=True),
    Measurement("idle", {"idle server calls": "calls/s"}, _idle, once=True),
    Measurement(
        "kill",
        {
            "killed: tasks cut short": "tasks",
            "killed: tasks lost or waiting": "tasks",
            "killed: tasks run twice": "tasks",
            "killed: first redelivery": "s",
            "killed: last redelivery": "s",
        },
        _kill,
        once=True,
    ),
)
