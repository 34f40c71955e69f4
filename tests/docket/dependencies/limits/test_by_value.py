"""Concurrency limits by the value of an argument, on real workers."""

import asyncio
from typing import Annotated

import pytest

from docket import ConcurrencyLimit, Docket
from tests.support.dockets import Gate, failure_of, finish, result_of
from tests.support.limits import Ledger, leftovers

pytestmark = pytest.mark.anyio


async def test_each_value_of_the_argument_has_slots_of_its_own(docket: Docket) -> None:
    ledger = Ledger()

    async def task(
        customer_id: int, limit: ConcurrencyLimit = ConcurrencyLimit("customer_id")
    ) -> None:
        await ledger.run(f"{customer_id}", customer_id)
        ledger.enter("all")
        await asyncio.sleep(0.01)
        ledger.leave("all")

    for i in range(12):
        await docket.add(task)(customer_id=i % 3)
    await finish(docket, concurrency=12)

    assert ledger.peak == {"0": 1, "1": 1, "2": 1, "all": 3}


async def test_a_limit_in_annotated_counts_each_value_of_its_parameter(docket: Docket) -> None:
    ledger = Ledger()

    async def task(x: Annotated[int, ConcurrencyLimit(2)]) -> None:
        await ledger.run(f"{x}", x)

    for i in range(12):
        await docket.add(task)(i % 2)
    await finish(docket, concurrency=12)

    assert ledger.peak == {"0": 2, "1": 2}


async def test_one_value_is_the_same_in_all_tasks_unless_their_scopes_differ(
    docket: Docket,
) -> None:
    ledger = Ledger()

    async def one(x: Annotated[int, ConcurrencyLimit(1)]) -> None:
        await ledger.run("shared")

    async def two(x: Annotated[int, ConcurrencyLimit(1)]) -> None:
        await ledger.run("shared")

    async def apart(x: Annotated[int, ConcurrencyLimit(1, scope="apart")]) -> None:
        gate.arrivals.append(x)
        await asyncio.wait_for(gate.opened.wait(), 10)

    async def opens(x: Annotated[int, ConcurrencyLimit(1)]) -> None:
        gate.opened.set()

    gate = Gate()
    for _ in range(5):
        await docket.add(one)(1)
        await docket.add(two)(1)
    apart_from = await docket.add(apart)(1)
    await docket.add(opens)(1)
    await finish(docket, concurrency=12)

    assert ledger.peak == {"shared": 1}
    assert await result_of(apart_from) is None


async def test_a_call_without_the_argument_is_not_limited_and_says_so(docket: Docket) -> None:
    seen: list[object] = []

    async def task(
        x: int = 5, limit: ConcurrencyLimit = ConcurrencyLimit("x", max_concurrent=1)
    ) -> None:
        seen.append((limit.is_bypassed, limit.concurrency_key))

    await docket.add(task)()
    await finish(docket)
    await docket.add(task)(5)
    await finish(docket)

    assert seen == [(True, None), (False, docket.key("slots:x:5"))]


async def test_a_value_that_cannot_be_named_fails_its_task_alone(docket: Docket) -> None:
    async def task(x: Annotated[object, ConcurrencyLimit(1)]) -> str:
        return "ran"

    broken = await docket.add(task)(Unnamable())
    sound = await docket.add(task)("\ud800\x00'\n" * 5000)
    await finish(docket)

    assert isinstance(await failure_of(broken), ZeroDivisionError)
    assert await result_of(sound) == "ran"
    assert await leftovers(docket) == set()


class Unnamable:
    """Has no text of its own."""

    def __str__(self) -> str:
        raise ZeroDivisionError("no name")
