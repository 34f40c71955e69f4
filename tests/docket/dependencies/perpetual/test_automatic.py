"""Automatic tasks: seeded by workers, once, and found again when they are missing."""

import logging
from datetime import timedelta

import pytest

from docket import Cron, Depends, Docket, ExecutionState, Perpetual, Worker
from docket.errors import ServerUnavailable
from docket.services import steward as steward_module
from docket.services.seeder import Seeder
from tests.support.dockets import Gate, at_work, finish, found, soon
from tests.support.store import until

pytestmark = pytest.mark.anyio

LONG = timedelta(hours=1)


class Ran:
    """An automatic task that counts its runs."""

    def __init__(self, every: timedelta = LONG) -> None:
        self.count = 0
        ran = self

        async def automatic(perpetual: Perpetual = Perpetual(every=every, automatic=True)) -> None:
            ran.count += 1

        self.task = automatic


async def test_a_worker_seeds_it_at_its_start_under_its_name(docket: Docket) -> None:
    ran = Ran()
    docket.register(ran.task)

    async with at_work(Worker(docket)) as worker:
        await until(lambda: worker.counters.perpetuated == 1)

    execution = await found(docket, "automatic")
    assert ran.count == 1
    assert (execution.state, execution.generation) == (ExecutionState.SCHEDULED, 2)


async def test_several_workers_seed_it_once(docket: Docket) -> None:
    ran = Ran()
    docket.register(ran.task)

    async with at_work(Worker(docket)) as first, at_work(Worker(docket)) as second:
        await until(lambda: first.counters.perpetuated + second.counters.perpetuated == 1)
        await Seeder(docket).seed()
    assert ran.count == 1


async def test_a_worker_that_is_told_not_to_seeds_nothing(docket: Docket) -> None:
    ran = Ran()
    docket.register(ran.task)

    await finish(docket, schedule_automatic_tasks=False)

    assert await docket.get_execution("automatic") is None


async def test_one_that_went_missing_is_found_and_seeded_again(
    docket: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steward_module, "RESEED_SECONDS", 0.02)
    ran = Ran()
    docket.register(ran.task)

    async with at_work(Worker(docket)) as worker:
        await until(lambda: worker.counters.perpetuated == 1)
        await docket.cancel("automatic")
        await until(lambda: ran.count == 2, "a run of the one seeded again")


def test_a_worker_looks_for_those_that_went_missing_about_once_a_minute() -> None:
    assert 45 <= steward_module.RESEED_SECONDS <= 75


async def test_a_worker_that_is_not_the_steward_does_not_seed_again(
    docket: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steward_module, "RESEED_SECONDS", 0.02)
    ran = Ran()
    docket.register(ran.task)

    async with at_work(Worker(docket)) as worker:
        await until(lambda: worker.counters.perpetuated == 1)
        worker.appoint_steward(False)
        # A seeding that was under way goes before what is asked now, on the same connection.
        for _ in range(3):
            await found(docket, "automatic")
        await docket.cancel("automatic")
        execution = await found(docket, "automatic")
        for _ in range(20):
            await execution.sync()
        assert execution.state is ExecutionState.CANCELLED


async def test_one_that_runs_is_kept(docket: Docket) -> None:
    gate = Gate()

    async def automatic(perpetual: Perpetual = Perpetual(automatic=True, every=LONG)) -> None:
        await gate.pass_through()

    docket.register(automatic)
    async with at_work(Worker(docket)):
        await soon(gate.reached.wait())
        await Seeder(docket).seed()
        assert (await found(docket, "automatic")).generation == 1
        gate.opened.set()


async def test_poison_is_not_seeded_again_while_its_record_lives(docket: Docket) -> None:
    ran = Ran()
    docket.register(ran.task)
    async with at_work(Worker(docket)) as worker:
        await until(lambda: worker.counters.perpetuated == 1)
    client = docket.connections.client()
    await client.hset(docket.keys.record("automatic"), mapping={"state": "failed", "poison": "1"})
    await client.zrem(docket.keys.queue, "automatic")

    await Seeder(docket).seed()

    assert (await found(docket, "automatic")).state is ExecutionState.FAILED
    # By hand it can be: whoever does has looked at it.
    await docket.add(ran.task, key="automatic")()
    assert (await found(docket, "automatic")).state is ExecutionState.QUEUED


async def test_an_adoption_that_finds_poison_says_so_in_the_record(docket: Docket) -> None:
    gate = Gate()

    async def automatic(perpetual: Perpetual = Perpetual(automatic=True)) -> None:
        await gate.pass_through()

    docket.register(automatic)
    async with at_work(Worker(docket)) as worker:
        await soon(gate.reached.wait())
        adoption = await Worker(docket).adopt(worker.consumer, max_deliveries=1)
        assert adoption.poisoned == ("automatic",)
        await Seeder(docket).seed()
        assert (await found(docket, "automatic")).state is ExecutionState.FAILED


async def test_one_that_only_failed_is_seeded_again(docket: Docket) -> None:
    async def automatic(perpetual: Perpetual = Perpetual(automatic=True)) -> None:
        perpetual.cancel()
        raise ValueError

    docket.register(automatic)
    await finish(docket)
    assert (await found(docket, "automatic")).state is ExecutionState.FAILED

    await Seeder(docket).seed()

    execution = await found(docket, "automatic")
    assert (execution.state, execution.generation) == (ExecutionState.QUEUED, 2)


async def test_a_stricken_one_is_not_seeded(docket: Docket) -> None:
    ran, other = Ran(), Ran()
    docket.register(ran.task)
    docket.register(other.task, names=["other"])
    await docket.strike("automatic")

    await Seeder(docket).seed()

    assert await docket.get_execution("automatic") is None
    assert (await found(docket, "other")).state is ExecutionState.QUEUED


async def test_a_function_with_several_names_is_one_task(docket: Docket) -> None:
    ran = Ran()
    docket.register(ran.task, names=["other", "automatic", "third"])
    docket.register(Ran().task, names=["x", "y"])

    await Seeder(docket).seed()

    live = [n for n in docket.tasks if await docket.get_execution(n) is not None]
    assert live == ["automatic", "x"]


async def test_a_cron_task_waits_for_its_first_time(docket: Docket) -> None:
    async def yearly(cron: Cron = Cron("@yearly")) -> None: ...

    docket.register(yearly)
    await Seeder(docket).seed()

    execution = await found(docket, "yearly")
    assert execution.state is ExecutionState.SCHEDULED
    assert (execution.when.month, execution.when.day, execution.when.hour) == (1, 1, 0)


async def test_without_a_server_seeding_is_left_to_the_next_time(
    docket: Docket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def away(request: object) -> None:
        raise ServerUnavailable("gone fishing")

    ran = Ran()
    docket.register(ran.task)
    monkeypatch.setattr(docket.transitions.coalescer, "schedule", away)

    with caplog.at_level(logging.WARNING):
        await Seeder(docket).seed()

    assert "Automatic task 'automatic' was not scheduled (gone fishing)" in caplog.text


def test_required_arguments_are_refused_at_registration() -> None:
    async def task(
        a: int,
        *,
        b: str,
        c: int = 1,
        d: int = Depends(lambda: 1),
        perpetual: Perpetual = Perpetual(automatic=True),
    ) -> None: ...

    with pytest.raises(ValueError, match=r"Automatic task 'task' must not require .*: a, b\."):
        Docket().register(task)


def test_optional_ones_are_not() -> None:
    async def task(
        *args: int, a: int = 1, perpetual: Perpetual = Perpetual(automatic=True), **rest: int
    ) -> None: ...

    async def with_arguments(a: int, perpetual: Perpetual = Perpetual()) -> None: ...

    docket = Docket()
    docket.register(task)
    docket.register(with_arguments)
    assert {"task", "with_arguments"} <= docket.tasks.keys()


async def test_one_whose_record_somebody_overwrote_is_told_and_stops_no_worker(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    ran = Ran()
    docket.register(ran.task)
    client, name = docket.connections.client(), docket.keys.record("automatic")
    await client.lpush(name, "x")

    async with at_work(Worker(docket)) as worker:
        assert "'automatic' was not scheduled, its record cannot be read" in caplog.text
        await client.delete(name)
        await Seeder(docket).seed()
        await until(lambda: worker.counters.perpetuated == 1)
