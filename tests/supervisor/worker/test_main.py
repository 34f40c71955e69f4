"""Real workers of a real nursery on a real server, as their supervisor sees them."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs

from ipc.framing import encode
from ipc.messages import (
    Adopt,
    Adopted,
    Drain,
    Drained,
    Draining,
    Dump,
    Exited,
    Heartbeat,
    Hello,
    Ready,
    Settings,
    Steward,
)
from supervisor.system.stack_signal import stack_signal
from tests.support.nursery import Child, NurseryProcess, started
from tests.support.real_workers import (
    add,
    ended,
    heartbeat,
    read,
    real_pool,
    result,
    state,
    told_by,
    write_tasks,
)


@pytest.fixture
def module(tmp_path: Path) -> Path:
    return write_tasks(tmp_path)


@pytest.fixture
def pool(module: Path, server: str, docket_name: str) -> Settings:
    return real_pool(module, server, docket_name)


@pytest.fixture
def nursery() -> Iterator[NurseryProcess]:
    with started("supervisor.nursery.program") as nursery:
        yield nursery


@pytest.fixture
def worker(nursery: NurseryProcess, pool: Settings) -> Child:
    nursery.load(pool)
    return nursery.spawn()


def test_a_worker_sends_hello_and_ready(worker: Child) -> None:
    assert worker.next(Hello).pid == worker.pid

    ready = worker.next(Ready)

    assert ready.name == "host#1"
    assert ready.consumer.startswith("host#1.")
    assert 5_000_000 < ready.rss_bytes < 500_000_000


def test_a_worker_tells_its_docket_of_its_process_and_its_place_in_the_pool(
    nursery: NurseryProcess, pool: Settings
) -> None:
    nursery.load(structs.replace(pool, generation=3, supervisor_pid=4242))
    worker = nursery.spawn()
    worker.next(Ready)

    process = told_by(pool)

    assert process is not None
    assert (process.host, process.pid) == (socket.gethostname(), worker.pid)
    assert (process.generation, process.supervisor_pid) == (3, 4242)
    assert process.rss_bytes is None or process.rss_bytes > 5_000_000


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


def test_a_drained_worker_reports_it_counts_its_last_task_and_exits_with_zero(
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


def test_a_drain_past_its_deadline_requeues_what_runs(
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


def test_commands_reach_the_worker(worker: Child, pool: Settings) -> None:
    worker.next(Ready)

    worker.channel.send(Steward(on=True))
    worker.channel.send(Dump())
    read(worker.dump, b"0 tasks running")

    assert result(pool, add(pool, "double", 1, delay_seconds=0.3)) == 2  # only a steward promotes


def test_a_dump_shows_coroutines_even_while_they_only_wait(worker: Child, pool: Settings) -> None:
    worker.next(Ready)
    key = add(pool, "wait", 2)
    heartbeat(worker, in_flight_total=1)

    worker.channel.send(Dump())

    text = read(worker.dump, b"worker_tasks.py")
    assert "1 task running" in text
    assert f"wait {key}" in text
    assert "await asyncio.sleep(seconds)" in text


def test_a_blocked_loop_beats_with_its_task_and_shows_its_stack(
    worker: Child, pool: Settings
) -> None:
    worker.next(Ready)
    key = add(pool, "block", 3)

    beat = next(beat for beat in worker.beats() if beat.blocking_key is not None)
    signal.pidfd_send_signal(worker.pidfd, stack_signal())

    assert beat.blocking_key == key
    assert beat.lag_seconds > 0
    assert "in block" in read(worker.dump, b"in block")


def test_an_adoption_moves_the_tasks_of_a_dead_worker_and_their_start_is_reported(
    nursery: NurseryProcess, pool: Settings, tmp_path: Path
) -> None:
    nursery.load(pool)
    victim = nursery.spawn(1)
    consumer = victim.next(Ready).consumer
    key = add(pool, "hang_once", str(tmp_path / "mark"))
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


def test_a_worker_whose_supervisor_is_gone_finishes_its_task(
    nursery: NurseryProcess, worker: Child, pool: Settings
) -> None:
    worker.next(Ready)
    key = add(pool, "wait", 0.3)
    heartbeat(worker, in_flight_total=1)

    nursery.die()

    assert nursery.wait() == 0
    assert state(pool, key) == "completed"


def test_a_worker_whose_supervisor_is_gone_requeues_what_takes_too_long(
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
