"""The runs of a worker: slots, the quarantine, leases, and their reports."""

import asyncio
from collections.abc import Callable

import pytest

from docket.instrumentation.counters import Counters
from docket.services.runs import Consumer, Run, Runs
from docket.store.claims import Claim

pytestmark = pytest.mark.anyio


def claim(key: str, suspect_seconds: float = 0.0) -> Claim:
    name = key.encode()
    return Claim(name, b"s" + name, b"1", b"f", b"call", 0, 1, 0, None, None, 0, suspect_seconds)


def test_a_consumers_name_is_never_used_again() -> None:
    consumer = Consumer("w")
    first, consumer.epoch = consumer.name, 7
    consumer.take_new_name()
    assert consumer.name != first
    assert consumer.name.startswith("w.")
    assert consumer.epoch == 1


def test_a_reported_run_frees_its_slot_and_keeps_its_lease_until_it_is_acknowledged() -> None:
    runs, run = Runs(), Run(claim("k"), Counters())
    runs.add(run)
    assert (runs.active, len(runs), runs.get(b"sk")) == (1, 1, run)
    assert [task.key for task in runs.running_tasks()] == ["k"]

    runs.report(run)
    assert runs.active == 0
    assert runs.leases() == [(b"k", b"sk", b"1")]
    assert runs.entries() == [b"sk"]
    assert runs.running_tasks() == []

    runs.remove(run)
    runs.remove(run)
    assert runs.leases() == []
    assert runs.get(b"sk") is None


@pytest.mark.parametrize("clear", [Runs.report, Runs.acquit])
def test_a_quarantined_task_is_suspect_until_it_has_ended_or_outlived_the_run_that_died(
    clear: Callable[[Runs, Run], None],
) -> None:
    runs, quarantined = Runs(), Run(claim("k", suspect_seconds=1.0), Counters())
    runs.add(Run(claim("other"), Counters()))
    assert not runs.has_suspect
    runs.add(quarantined)
    assert runs.has_suspect
    clear(runs, quarantined)
    assert not runs.has_suspect
    assert not quarantined.is_suspect


def test_a_run_that_has_outlived_another_is_acquitted_once() -> None:
    runs, one, two = Runs(), Run(claim("1", 1.0), Counters()), Run(claim("2", 1.0), Counters())
    runs.add(one)
    runs.acquit(one)
    runs.add(two)
    runs.report(one)
    assert runs.has_suspect


async def test_the_key_of_a_run_is_found_by_the_asyncio_task_that_executes_it() -> None:
    runs, run = Runs(), Run(claim("k"), Counters())
    runs.add(run)
    task = asyncio.current_task()
    assert task is not None
    assert runs.key_of(task) is None
    run.task = task
    assert runs.key_of(task) == "k"
