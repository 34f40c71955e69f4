"""Real workers of a real nursery on a real server, as their supervisor sees them."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import structs

from docket import Docket, Execution
from ipc.framing import encode
from ipc.messages import (
    Adopt,
    Adopted,
    Drain,
    Drained,
    Draining,
    Dump,
    Exited,
    Fault,
    Heartbeat,
    Hello,
    Loaded,
    Nudge,
    Ready,
    SetConcurrency,
    Settings,
    Steward,
)
from supervisor.newborn import dump_signal
from tests.support.nursery import Child, NurseryProcess, settings, started

TASKS = ["worker_tasks:tasks"]
SOURCE = """
import asyncio, os, subprocess, sys, time

async def double(number):
    return 2 * number

async def wait(seconds):
    await asyncio.sleep(seconds)

async def block(seconds):
    time.sleep(seconds)

async def anything():
    return "the fallback"

tasks = [double, wait, block]
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    file = tmp_path / "worker_tasks.py"
    file.write_text(SOURCE)
    return file


@pytest.fixture
def pool(module: Path, server: str, docket_name: str) -> Settings:
    """Settings of a nursery of real workers on the tests' server."""
    return settings(
        module.parent,
        tasks=TASKS,
        docket=docket_name,
        url=server,
        logging_level="CRITICAL",
        heartbeat_seconds=0.05,
        drain_timeout_seconds=1.0,
    )


@pytest.fixture
def nursery() -> Iterator[NurseryProcess]:
    with started("supervisor.nursery") as nursery:
        yield nursery


@pytest.fixture
def worker(nursery: NurseryProcess, pool: Settings) -> Child:
    nursery.load(pool)
    return nursery.spawn()


def add(pool: Settings, function: str, *args: object) -> str:
    """The key of a new task of the pool."""
    return asyncio.run(_add(pool, function, args))


async def _add(pool: Settings, function: str, args: tuple[object, ...]) -> str:
    async with _docket(pool) as docket:
        docket.register(_unknown_here, names=[function])
        execution: Execution = await docket.add(function)(*args)
        return execution.key


def result(pool: Settings, key: str) -> object:
    return asyncio.run(_result(pool, key))


async def _result(pool: Settings, key: str) -> object:
    async with _docket(pool) as docket:
        execution = await docket.get_execution(key)
        assert execution is not None
        return await execution.get_result(timeout=timedelta(seconds=20))


def _docket(pool: Settings) -> Docket:
    return Docket(pool.worker.docket, pool.worker.url)


async def _unknown_here(*args: object) -> None:
    raise AssertionError(args)


def heartbeat(worker: Child, **wanted: object) -> Heartbeat:
    """The first heartbeat with these fields."""
    while True:
        beat = worker.next(Heartbeat)
        if all(getattr(beat, name) == value for name, value in wanted.items()):
            return beat


def read(pipe: int, needle: bytes) -> str:
    """What comes out of a pipe, up to and with the needle."""
    data = b""
    while needle not in data:
        data += os.read(pipe, 1 << 16)
    return data.decode()


def ended(nursery: NurseryProcess) -> int:
    return os.waitstatus_to_exitcode(nursery.next(Exited).status)


def test_a_worker_says_who_it_is_and_that_it_is_ready(worker: Child) -> None:
    assert worker.next(Hello).pid == worker.pid

    ready = worker.next(Ready)

    assert ready.name == "host#1"
    assert ready.consumer.startswith("host#1.")
    assert 5_000_000 < ready.rss_bytes < 500_000_000


def test_a_worker_runs_tasks_and_its_heartbeats_count_them(worker: Child, pool: Settings) -> None:
    worker.next(Ready)
    assert heartbeat(worker).counters.started == 0

    assert result(pool, add(pool, "double", 21)) == 42

    while (beat := heartbeat(worker)).counters.succeeded == 0:
        assert beat.counters.started <= 1
    assert sum(beat.counters.duration.counts) == 1
    assert beat.in_flight_total == 0


def test_a_heartbeat_names_what_is_in_flight(worker: Child, pool: Settings) -> None:
    worker.next(Ready)
    key = add(pool, "wait", 0.5)

    beat = heartbeat(worker, in_flight_total=1)

    [task] = beat.in_flight
    assert (task.key, task.function) == (key, "wait")
    assert 0 <= task.seconds < 5


def test_a_drained_worker_says_so_counts_its_last_task_and_exits_with_zero(
    nursery: NurseryProcess, worker: Child, pool: Settings
) -> None:
    worker.next(Ready)
    key = add(pool, "wait", 0.3)
    heartbeat(worker, in_flight_total=1)

    worker.channel.send(Drain())

    worker.next(Draining)
    last = None
    while not isinstance(message := worker.next(object), Drained):
        last = message if isinstance(message, Heartbeat) else last
    assert last is not None
    assert last.counters.succeeded == 1
    assert result(pool, key) is None
    assert ended(nursery) == 0


def test_a_drain_past_its_deadline_hands_back_what_runs(
    nursery: NurseryProcess, worker: Child, pool: Settings
) -> None:
    worker.next(Ready)
    key = add(pool, "wait", 100)
    heartbeat(worker, in_flight_total=1)

    worker.channel.send(Drain(deadline_seconds=100))
    worker.channel.send(Drain(deadline_seconds=0))

    worker.next(Drained)
    assert ended(nursery) == 0
    assert state(pool, key) == "queued"


def state(pool: Settings, key: str) -> str:
    async def look() -> str:
        async with _docket(pool) as docket:
            execution = await docket.get_execution(key)
            return "gone" if execution is None else execution.state.value

    return asyncio.run(look())


def test_commands_reach_the_worker(worker: Child, pool: Settings) -> None:
    worker.next(Ready)

    worker.channel.send(Steward(on=True))
    worker.channel.send(Nudge())
    worker.channel.send(SetConcurrency(1))
    worker.channel.send(Dump())
    read(worker.dump, b"0 tasks running")  # so it has obeyed what came before
    for _ in range(2):
        add(pool, "wait", 0.3)

    assert heartbeat(worker, in_flight_total=1)
    while (beat := worker.next(Heartbeat)).counters.succeeded < 2:
        assert beat.in_flight_total <= 1


def test_a_dump_shows_coroutines_even_while_they_only_wait(worker: Child, pool: Settings) -> None:
    worker.next(Ready)
    key = add(pool, "wait", 2)
    heartbeat(worker, in_flight_total=1)

    worker.channel.send(Dump())

    text = read(worker.dump, b"worker_tasks.py")
    assert "1 tasks running" in text
    assert f"wait {key}" in text
    assert "await asyncio.sleep(seconds)" in text


def test_a_blocked_loop_beats_with_its_culprit_and_shows_its_stack(
    worker: Child, pool: Settings
) -> None:
    worker.next(Ready)
    key = add(pool, "block", 3)

    beat = next(beat for beat in worker.beats() if beat.culprit is not None)
    signal.pidfd_send_signal(worker.pidfd, dump_signal())

    assert beat.culprit == key
    assert beat.lag_seconds > 0
    assert "in block" in read(worker.dump, b"in block")


def test_an_adoption_moves_the_tasks_of_a_dead_worker_and_its_start_is_told(
    nursery: NurseryProcess, pool: Settings
) -> None:
    nursery.load(pool)
    victim = nursery.spawn(1)
    consumer = victim.next(Ready).consumer
    key = add(pool, "wait", 0.2)
    heartbeat(victim, in_flight_total=1)
    heir = nursery.spawn(2)
    heir.next(Ready)

    signal.pidfd_send_signal(victim.pidfd, signal.SIGKILL)
    assert nursery.next(Exited).pid == victim.pid
    killed_at = time.monotonic()
    heir.channel.send(Adopt(consumer, "everyone"))

    adopted = heir.next(Adopted)
    assert (adopted.consumer, adopted.moved, adopted.poisoned) == (consumer, 1, [])
    assert result(pool, key) is None
    assert time.monotonic() - killed_at < 10


def test_a_task_nobody_registered_goes_to_the_fallback(
    nursery: NurseryProcess, pool: Settings
) -> None:
    nursery.load(with_worker(pool, fallback_task="worker_tasks:anything"))
    nursery.spawn().next(Ready)

    assert result(pool, add(pool, "unheard_of")) == "the fallback"


def with_worker(pool: Settings, **changes: object) -> Settings:
    return structs.replace(pool, worker=structs.replace(pool.worker, **changes))


def test_without_preload_the_worker_imports_the_tasks(
    nursery: NurseryProcess, pool: Settings
) -> None:
    loaded = nursery.load(structs.replace(pool, preload=False))
    nursery.spawn().next(Ready)

    assert isinstance(loaded, Loaded)
    assert result(pool, add(pool, "double", 4)) == 8


def test_dependencies_are_resolved_by_the_worker_and_their_errors_are_its_fault(
    nursery: NurseryProcess, pool: Settings
) -> None:
    nursery.load(
        structs.replace(with_worker(pool, dependencies="worker_tasks:none"), preload=False)
    )
    worker = nursery.spawn()

    assert "has no attribute 'none'" in worker.next(Fault).reason
    assert ended(nursery) == 1


def test_a_worker_that_breaks_while_it_runs_says_how(
    nursery: NurseryProcess, pool: Settings, module: Path
) -> None:
    module.write_text(
        SOURCE + "from docket import Worker\n"
        "async def broken(self, supervision, **options):\n"
        "    raise RuntimeError('a bug of ours')\n"
        "Worker.run_supervised = broken\n"
    )
    nursery.load(pool)
    worker = nursery.spawn()

    fault = worker.next(Fault)

    assert fault.reason == "RuntimeError: a bug of ours"
    assert "in broken" in fault.traceback
    assert ended(nursery) == 1


def test_an_import_that_fails_in_the_worker_is_its_fault(
    nursery: NurseryProcess, pool: Settings, module: Path
) -> None:
    module.write_text("import nothing_there\n")
    nursery.load(structs.replace(pool, preload=False))
    worker = nursery.spawn()

    fault = worker.next(Fault)

    assert fault.reason.endswith("ModuleNotFoundError: No module named 'nothing_there'")
    assert str(module) in fault.traceback
    assert ended(nursery) == 1


def test_tasks_that_are_no_functions_are_the_workers_fault(
    nursery: NurseryProcess, pool: Settings, module: Path
) -> None:
    module.write_text("tasks = 7\n")
    nursery.load(pool)
    worker = nursery.spawn()

    assert worker.next(Hello).pid == worker.pid
    assert "'worker_tasks:tasks' is a int, not iterable" in worker.next(Fault).reason
    assert ended(nursery) == 1


def test_a_worker_without_its_server_waits_and_leaves_when_told(
    nursery: NurseryProcess, pool: Settings
) -> None:
    nursery.load(with_worker(pool, url="redis://127.0.0.1:1/0"))
    worker = nursery.spawn()
    worker.next(Hello)

    worker.channel.send(Drain())

    worker.next(Draining)
    worker.next(Drained)
    assert ended(nursery) == 0


def test_a_worker_whose_supervisor_is_gone_finishes_its_task(
    nursery: NurseryProcess, worker: Child, pool: Settings
) -> None:
    worker.next(Ready)
    key = add(pool, "wait", 0.3)
    heartbeat(worker, in_flight_total=1)

    nursery.die()

    assert nursery.wait() == 0
    assert state(pool, key) == "completed"


def test_a_worker_whose_supervisor_is_gone_hands_back_what_takes_too_long(
    nursery: NurseryProcess, worker: Child, pool: Settings
) -> None:
    worker.next(Ready)
    key = add(pool, "wait", 100)
    heartbeat(worker, in_flight_total=1)

    nursery.die()

    assert nursery.wait() == 0
    assert state(pool, key) == "queued"


def test_garbage_from_the_supervisor_counts_as_its_end(
    nursery: NurseryProcess, worker: Child
) -> None:
    worker.next(Ready)

    os.write(worker.channel.fileno(), encode(Hello(1, 1)))

    assert ended(nursery) == 0
