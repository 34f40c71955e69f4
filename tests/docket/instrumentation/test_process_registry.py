"""The registry of a process's workers and dockets."""

import asyncio
from collections.abc import Iterator

import pytest

from docket.backlog import Backlog
from docket.instrumentation.counters import TaskCounters
from docket.instrumentation.process_registry import MAX_KEPT, ProcessRegistry, RunningWorker
from docket.instrumentation.readiness import Readiness
from docket.supervision import Unsupervised


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


async def no_backlog() -> Backlog:
    return Backlog(0, 0, 0, 0, 0, None, None, 0, 0, 0)


def running_worker(
    loop: asyncio.AbstractEventLoop, worker: str = "w", disruptions: int = 0
) -> RunningWorker:
    return RunningWorker(
        "d",
        worker,
        TaskCounters(),
        Readiness(Unsupervised(), lambda: True),
        running=list,
        places=lambda: 10,
        disruptions=lambda: disruptions,
        strikes=lambda: 0,
        backlog=no_backlog,
        loop=loop,
    )


def test_what_a_worker_has_counted_stays_when_it_has_ended(
    loop: asyncio.AbstractEventLoop,
) -> None:
    registry = ProcessRegistry()
    first, second = running_worker(loop, disruptions=1), running_worker(loop, disruptions=2)

    with registry.at_work(first):
        first.task_counters.of(b"greet").started += 1
        assert registry.running_workers() == [first]
    with registry.at_work(second):
        second.task_counters.of(b"greet").started += 1
        assert registry.counters_by_labels()["d", "w"].total().started == 2
        assert registry.disruptions() == {("d", "w"): 3}

    assert registry.running_workers() == []
    assert registry.counters_by_labels()["d", "w"].total().started == 2
    assert registry.disruptions() == {("d", "w"): 3}


def test_workers_of_one_name_are_counted_together(loop: asyncio.AbstractEventLoop) -> None:
    registry = ProcessRegistry()
    first, second = running_worker(loop), running_worker(loop)

    with registry.at_work(first), registry.at_work(second):
        first.task_counters.of(b"greet").started += 1
        second.task_counters.of(b"greet").started += 1

        assert registry.counters_by_labels()["d", "w"].total().started == 2


def test_only_so_many_names_are_kept(loop: asyncio.AbstractEventLoop) -> None:
    registry = ProcessRegistry()

    for number in range(MAX_KEPT + 10):
        with registry.at_work(running_worker(loop, worker=f"w{number}")):
            registry.producer(f"d{number}")

    assert len(registry.counters_by_labels()) == MAX_KEPT
    assert ("d", "w0") not in registry.counters_by_labels()
    assert len(registry.producers()) == MAX_KEPT


def test_a_docket_is_counted_in_one_place_whoever_asks() -> None:
    registry = ProcessRegistry()

    assert registry.producer("d") is registry.producer("d")
    assert registry.producer("d") is not registry.producer("other")
