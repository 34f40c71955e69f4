"""The part that all adapters share: traces of what ran, and the roles of a process.

An adapter runs in the environment of its peer, so that this module has the standard library only,
and none of ours. It is started as `ADAPTER ROLE` with its options, JSON, in PEER_OPTIONS:

- `describe` prints a line of JSON: the settings, and the installed distributions;
- `worker` runs a worker process (or a pool of them) until it is ended;
- `scheduler` runs what moves due tasks, for peers that have a process for that;
- `add` adds tasks, and prints a line of JSON: how many, in how many seconds, and CPU seconds.

Traces are files of a folder, one of each kind for each process that ran a task. Their formats stand
in traces.py, which reads them.
"""

import asyncio
import inspect
import json
import mmap
import os
import platform
import random
import struct
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

OPTIONS: dict[str, Any] = json.loads(os.environ.get("PEER_OPTIONS", "{}"))
URL: str = OPTIONS.get("url", "redis://127.0.0.1:6379/0")
NAME: str = OPTIONS.get("name", "peers")
CONCURRENCY: int = OPTIONS.get("concurrency", 10)
PROCESSES: int = OPTIONS.get("processes", 1)
#: Set where a worker is going to be killed: what the peer has against the loss of tasks is on.
DURABLE: bool = OPTIONS.get("durable", False)
#: Adds under way at once, for peers without a call for many.
TOGETHER = 100

_SLOT = struct.Struct("<qdd")  # runs, start of the first, start of the last
_STAMP = struct.Struct("<dd")  # the moment in the argument, the start
_RUN = struct.Struct("<qqd")  # number of the task, 0 for its start or 1 for its end, the time
#: Adds before the measured ones: connections, scripts and code paths are warm.
_WARM_UP = 20
#: Between two paced adds: random, or they could fall in with a timer.
_PAUSE_SECONDS = (0.005, 0.025)
#: From the adds to the first due time.
_LEAD_SECONDS = 2.0


class Traces:
    """The traces of one process; its forks begin new ones."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._lock = threading.Lock()
        self.reset()
        os.register_at_fork(after_in_child=self.reset)

    def reset(self) -> None:
        """Forget the files: they are another process's."""
        self._lock = threading.Lock()
        self._slot: mmap.mmap | None = None
        self._files: dict[str, int] = {}
        self._runs = 0
        self._first = 0.0

    def count(self) -> None:
        """Note a run in the slot of this process."""
        with self._lock:
            now = time.monotonic()
            if self._slot is None:
                self._slot = self._new_slot()
                self._first = now
            self._runs += 1
            _SLOT.pack_into(self._slot, 0, self._runs, self._first, now)

    def stamp(self, moment: float) -> None:
        """Note the start of a task that carries a moment of the wall clock."""
        self._append("stamps", _STAMP.pack(moment, time.time()))

    def started(self, number: int) -> None:
        """Note the start of a task."""
        self._append("runs", _RUN.pack(number, 0, time.monotonic()))

    def ended(self, number: int) -> None:
        """Note the end of a task."""
        self._append("runs", _RUN.pack(number, 1, time.monotonic()))

    def _new_slot(self) -> mmap.mmap:
        descriptor = os.open(self._folder / f"slot.{os.getpid()}", os.O_RDWR | os.O_CREAT)
        os.ftruncate(descriptor, _SLOT.size)
        return mmap.mmap(descriptor, _SLOT.size)

    def _append(self, kind: str, record: bytes) -> None:
        with self._lock:
            if kind not in self._files:
                path = self._folder / f"{kind}.{os.getpid()}"
                self._files[kind] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(self._files[kind], record)


traces = Traces(OPTIONS.get("folder", "."))


class Adapter:
    """A peer. `add` and `add_bulk` may be coroutine functions or plain ones.

    Tasks are `no_op()`, `stamp(moment)` and `linger(number, seconds)`.
    """

    async def __aenter__(self) -> "Adapter":
        """Open the connections of a producer."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close them."""

    def add(self, task: str, *arguments: Any, at: float | None = None) -> Any:
        """Add one task, due at once or at a time in epoch seconds."""
        raise NotImplementedError

    def add_bulk(self, task: str, calls: Sequence[tuple[Any, ...]]) -> Any:
        """Add many tasks in the way that the peer has for that."""
        raise NotImplementedError

    def due(self, at: float) -> float:
        """Round a due time up to what the peer can express."""
        return at

    def work(self) -> None:
        """Run a worker process until it is ended."""
        raise NotImplementedError

    def schedule(self) -> None:
        """Run what moves due tasks to the queue, if that is a process of its own."""
        raise NotImplementedError


def run_loop(coroutine: Any) -> Any:
    """Run a coroutine on uvloop if it is installed, and else on asyncio's loop."""
    try:
        import uvloop  # noqa: PLC0415 - not in every environment
    except ImportError:
        return asyncio.run(coroutine)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)


def become(*words: str) -> None:
    """Replace this process by a module of the environment, which finds the adapters."""
    os.execv(sys.executable, [sys.executable, "-m", *words])


async def in_chunks(add: Any, calls: Sequence[tuple[Any, ...]]) -> None:
    """Await an add for each call, TOGETHER at a time."""
    for start in range(0, len(calls), TOGETHER):
        await asyncio.gather(*(add(*call) for call in calls[start : start + TOGETHER]))


def main(adapter: Adapter, settings: Mapping[str, str]) -> None:
    """Play the role that the command line names.

    Arguments:
        settings: of the peer, by name, as they are shown beside the figures.
    """
    match sys.argv[1]:
        case "worker":
            adapter.work()
        case "scheduler":
            adapter.schedule()
        case "add":
            print(json.dumps(run_loop(_add(adapter))), flush=True)
        case "describe":
            print(json.dumps(_description(settings)), flush=True)
        case other:
            sys.exit(f"there is no role {other}")


def _description(settings: Mapping[str, str]) -> dict[str, Any]:
    installed = {each.name: each.version for each in metadata.distributions()}
    return {
        "settings": dict(settings),
        "runtime": f"Python {platform.python_version()}",
        "installed": dict(sorted(installed.items())),
    }


async def _add(adapter: Adapter) -> dict[str, float]:
    way, count = OPTIONS["way"], OPTIONS["count"]
    async with adapter:
        if way in ("bulk", "single"):
            return await _measured(adapter, way, count)
        if way == "paced":
            for _ in range(count):
                await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))
                await _done(adapter.add("stamp", time.time()))
        if way == "scheduled":
            await _scheduled(adapter, count)
        if way == "linger":
            calls = [(number, OPTIONS["seconds"]) for number in range(count)]
            await _done(adapter.add_bulk("linger", calls))
    return {"added": count}


async def _measured(adapter: Adapter, way: str, count: int) -> dict[str, float]:
    no_ops: list[tuple[Any, ...]] = [()] * count
    if way == "bulk":
        await _done(adapter.add_bulk("no_op", no_ops[:_WARM_UP]))
    else:
        for _ in range(_WARM_UP):
            await _done(adapter.add("no_op"))
    cpu, started = time.process_time(), time.perf_counter()
    if way == "bulk":
        await _done(adapter.add_bulk("no_op", no_ops))
    else:
        for _ in range(count):
            added = adapter.add("no_op")
            if inspect.isawaitable(added):
                await added
    seconds, used = time.perf_counter() - started, time.process_time() - cpu
    return {"added": count + _WARM_UP, "measured": count, "seconds": seconds, "cpu": used}


async def _scheduled(adapter: Adapter, count: int) -> None:
    first = time.time() + _LEAD_SECONDS
    for _ in range(count):
        at = adapter.due(round(first + random.uniform(0, OPTIONS["seconds"]), 3))
        await _done(adapter.add("stamp", at, at=at))


async def _done(added: Any) -> None:
    if inspect.isawaitable(added):
        await added
