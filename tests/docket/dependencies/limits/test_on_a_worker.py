"""Limits on real workers: tasks that write down themselves when they ran."""

import asyncio
import time
from datetime import timedelta
from typing import Annotated

import pytest

from docket import (
    ConcurrencyLimit,
    Depends,
    Docket,
    ExecutionState,
    Retry,
    TaskKey,
    Worker,
)
from docket.dependencies import AdmissionBlocked, Dependency
from tests.support.dockets import Gate, at_work, failure_of, finish, result_of, soon
from tests.support.limits import Ledger, leftovers, states
from tests.support.store import until

pytestmark = pytest.mark.anyio

MOMENT = timedelta(milliseconds=50)


async def test_no_more_run_at_once_than_the_limit_says(docket: Docket) -> None:
    ledger = Ledger()

    async def task(i: int, limit: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=3)) -> None:
        await ledger.run("task", i)

    for i in range(30):
        await docket.add(task)(i)
    async with Worker(docket, concurrency=20) as one, Worker(docket, concurrency=20) as two:
        await asyncio.gather(one.run_until_finished(), two.run_until_finished())

    assert sorted(ledger.order(), key=str) == sorted(range(30), key=str)
    assert ledger.peak == {"task": 3}
    assert await leftovers(docket) == set()


def test_a_limit_in_a_signature_knows_no_key_and_is_not_bypassed() -> None:
    limit = ConcurrencyLimit("x")

    with pytest.raises(RuntimeError, match="not initialized - use within task context"):
        _ = limit.concurrency_key
    assert not limit.is_bypassed


async def test_a_task_that_waits_for_a_slot_takes_no_place_in_the_worker(docket: Docket) -> None:
    gate = Gate()

    async def limited(i: int, limit: ConcurrencyLimit = ConcurrencyLimit()) -> None:
        await gate.pass_through(i)

    async def free() -> str:
        return "ran"

    async with Worker(docket, concurrency=2) as worker, at_work(worker):
        for i in range(5):
            await docket.add(limited, key=f"k{i}")(i)
        execution = await docket.add(free)()

        assert await result_of(execution) == "ran"
        assert await states(docket, "k0", "k4") == ["running", "scheduled"]
        assert len(worker.running_tasks()) == 1
        gate.opened.set()
        await until(lambda: len(gate.arrivals) == 5)
    # In order, each woken by the end of the one before.
    assert gate.arrivals == [0, 1, 2, 3, 4]
    # Only what was admitted has started.
    assert worker.counters.started == 6
    assert worker.counters.succeeded == 6


async def test_who_waits_is_woken_by_the_end_of_a_run_and_not_by_a_clock(docket: Docket) -> None:
    ends: list[float] = []
    gaps: list[float] = []

    async def task(limit: ConcurrencyLimit = ConcurrencyLimit()) -> None:
        if ends:
            gaps.append(time.monotonic() - ends[-1])
        await asyncio.sleep(0.01)
        ends.append(time.monotonic())

    for _ in range(20):
        await docket.add(task)()
    await finish(docket, concurrency=5)

    assert len(gaps) == 19
    # Some milliseconds; the shortest timer that could wake it instead is far above.
    assert sorted(gaps)[9] < 0.25


async def test_a_waiter_on_one_worker_is_woken_by_the_end_of_a_run_on_another(
    docket: Docket,
) -> None:
    gate = Gate()

    async def task(i: int, limit: ConcurrencyLimit = ConcurrencyLimit()) -> int:
        if i == 0:
            await gate.pass_through()
        return i

    async with Worker(docket, concurrency=1) as one, at_work(one):
        await docket.add(task, key="k0")(0)
        await gate.reached.wait()
        async with Worker(docket, concurrency=1) as two, at_work(two):
            execution = await docket.add(task)(1)
            await until(lambda: two.counters.started == 0 and not two.running_tasks())
            gate.opened.set()
            assert await result_of(execution) == 1


async def test_a_waiting_task_that_is_cancelled_never_runs(docket: Docket) -> None:
    gate = Gate()

    async def task(i: int, limit: ConcurrencyLimit = ConcurrencyLimit()) -> None:
        await gate.pass_through(i)

    async with Worker(docket) as worker, at_work(worker):
        for i in range(3):
            await docket.add(task, key=f"k{i}")(i)
        await gate.reached.wait()
        await until(lambda: len(worker.running_tasks()) == 1)
        await docket.cancel("k1")
        assert await states(docket, "k1") == ["cancelled"]
        gate.opened.set()
        await until(lambda: len(gate.arrivals) == 2)
    assert gate.arrivals == [0, 2]
    assert await leftovers(docket) == set()


async def test_cancelling_who_holds_the_slot_gives_it_to_the_next(docket: Docket) -> None:
    gate = Gate()

    async def task(i: int, limit: ConcurrencyLimit = ConcurrencyLimit()) -> int:
        if i == 0:
            await gate.pass_through()
        return i

    async with Worker(docket) as worker, at_work(worker):
        await docket.add(task, key="k0")(0)
        await gate.reached.wait()
        execution = await docket.add(task, key="k1")(1)

        await docket.cancel("k0")

        assert await result_of(execution) == 1
    assert await states(docket, "k0") == ["cancelled"]


async def test_a_retry_gives_its_slot_back_while_it_waits(docket: Docket) -> None:
    ledger = Ledger()

    async def task(
        i: int,
        limit: ConcurrencyLimit = ConcurrencyLimit(),
        retry: Retry = Retry(attempts=2, delay=MOMENT),
    ) -> None:
        await ledger.run("task", (i, retry.attempt))
        if i == 0:
            raise ValueError("always")

    execution = await docket.add(task)(0)
    await docket.add(task)(1)
    await finish(docket)

    assert isinstance(await failure_of(execution), ValueError)
    assert ledger.order() == [(0, 1), (1, 1), (0, 2)]
    assert ledger.peak == {"task": 1}


async def test_a_drain_hands_the_slot_back_with_its_run(docket: Docket) -> None:
    gate = Gate()

    async def task(limit: ConcurrencyLimit = ConcurrencyLimit()) -> str:
        await gate.pass_through()
        return "done"

    async with Worker(docket) as worker, at_work(worker):
        execution = await docket.add(task)()
        await gate.reached.wait()
    gate.opened.set()
    assert await leftovers(docket) <= {f"task:{execution.key}"}

    await finish(docket)
    assert await result_of(execution) == "done"


async def test_a_task_asks_for_its_slots_before_anything_else_it_depends_on(
    docket: Docket,
) -> None:
    opened: list[str] = []
    gate = Gate()

    async def connection(key: str = TaskKey()) -> str:
        opened.append(key)
        return key

    async def task(
        limit: ConcurrencyLimit = ConcurrencyLimit(), c: str = Depends(connection)
    ) -> None:
        await gate.pass_through()

    async with Worker(docket) as worker, at_work(worker):
        await docket.add(task, key="k0")()
        await docket.add(task, key="k1")()
        await gate.reached.wait()
        await until(lambda: len(worker.running_tasks()) == 1)
        assert opened == ["k0"]
        gate.opened.set()


async def test_a_limit_that_a_dependency_asks_for_is_the_tasks(docket: Docket) -> None:
    ledger = Ledger()

    async def database(
        limit: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=2, scope="db"),
    ) -> str | None:
        return limit.concurrency_key

    async def task(i: int, db: str = Depends(database)) -> str:
        await ledger.run("task", i)
        return db

    executions = [await docket.add(task)(i) for i in range(10)]
    await finish(docket)

    assert ledger.peak == {"task": 2}
    assert await result_of(executions[0]) == docket.key("slots:db:task")


async def test_tasks_with_several_limits_in_any_order_all_run(docket: Docket) -> None:
    ledger = Ledger()

    async def forth(
        a: Annotated[int, ConcurrencyLimit(1)], b: Annotated[int, ConcurrencyLimit(1)]
    ) -> None:
        await both(a, b)

    async def back(
        b: Annotated[int, ConcurrencyLimit(1)], a: Annotated[int, ConcurrencyLimit(1)]
    ) -> None:
        await both(a, b)

    async def both(a: int, b: int) -> None:
        ledger.enter(f"a{a}")
        await ledger.run(f"b{b}", (a, b))
        ledger.leave(f"a{a}")

    for i in range(40):
        await docket.add(forth if i % 2 else back)(a=i % 3, b=i % 4)
    await finish(docket, concurrency=20)

    assert len(ledger.order()) == 40 * 2
    assert set(ledger.peak.values()) == {1}
    assert await leftovers(docket) == set()


async def test_a_run_that_has_to_wait_is_none_of_those_that_a_key_may_have(
    docket: Docket,
) -> None:
    gate = Gate()

    async def task(i: int, limit: ConcurrencyLimit = ConcurrencyLimit()) -> int:
        if i == 0:
            await gate.pass_through()
        return i

    await docket.add(task, key="k0")(0)
    execution = await docket.add(task, key="k1")(1)
    async with Worker(docket) as worker:
        running = asyncio.create_task(worker.run_at_most({"k1": 1}))
        await gate.reached.wait()
        await until(lambda: len(worker.running_tasks()) == 1)
        gate.opened.set()
        await soon(running)

    assert await result_of(execution) == 1


async def test_a_dependency_may_turn_its_task_away_for_a_while_or_for_good(
    docket: Docket,
) -> None:
    tries: list[str] = []

    class Door(Dependency[None]):
        async def __aenter__(self) -> None:
            execution = self.execution.get()
            tries.append(execution.key)
            if execution.key == "for good":
                raise AdmissionBlocked(execution, "closed", reschedule=False)
            if tries.count(execution.key) < 3:
                raise AdmissionBlocked(execution, "busy", retry_delay=MOMENT / 10)

    async def task(door: None = Door(), retry: Retry = Retry(attempts=1)) -> int:
        return retry.attempt

    later = await docket.add(task, key="for a while")()
    never = await docket.add(task, key="for good")()
    await finish(docket)

    assert await result_of(later) == 1
    assert tries.count("for a while") == 3
    await never.sync()
    assert never.state is ExecutionState.CANCELLED
