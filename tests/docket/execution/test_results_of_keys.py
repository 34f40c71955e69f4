"""The result of an execution whose key has had another since: never that of the other."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from typing import Any

import pytest

from docket import Docket, Execution, Perpetual, Worker
from docket.errors import ResultUnavailable
from docket.execution import Disposition
from tests.support.dockets import Gate, at_work, found, result_of, soon

pytestmark = pytest.mark.anyio

USED_AGAIN = "The key of task 'k' was used again"


async def returns(value: object) -> object:
    return value


async def raises(value: object) -> object:
    raise LookupError(value)


@pytest.fixture
async def docket(docket: Docket) -> AsyncGenerator[Docket]:
    async with at_work(Worker(docket)):
        yield docket


async def unavailable(execution: Execution) -> None:
    with pytest.raises(ResultUnavailable, match=USED_AGAIN):
        await result_of(execution)


@pytest.mark.parametrize("other", [returns, raises])
async def test_a_key_that_was_used_again_has_no_result_of_the_first(
    docket: Docket, other: Callable[..., Any]
) -> None:
    first = await docket.add(returns, key="k")(1)
    assert await result_of(first) == 1
    second = await docket.add(other, key="k")(2)
    await asyncio.gather(result_of(second), return_exceptions=True)

    await unavailable(first)
    [third] = await docket.add_many([docket.call(returns, key="k")(3)])
    assert await result_of(third) == 3
    await unavailable(second)


async def test_who_waits_for_a_run_that_is_replaced_is_told_at_once(docket: Docket) -> None:
    gate = Gate()

    async def mine() -> str:
        await gate.pass_through()
        return "mine"

    execution = await docket.add(mine, key="k")()
    await soon(gate.reached.wait())
    waiter = asyncio.ensure_future(result_of(execution))
    theirs = await docket.replace(returns, None, "k")("theirs")

    with pytest.raises(ResultUnavailable, match=USED_AGAIN):
        await soon(waiter)
    gate.opened.set()
    assert await result_of(theirs) == "theirs"


async def test_a_cancelled_one_is_not_that_of_a_call_before(docket: Docket) -> None:
    first = await docket.add(returns, key="k")(1)
    assert await result_of(first) == 1
    later = await docket.add(returns, first.when + timedelta(days=1), "k")(2)
    await docket.cancel("k")
    await unavailable(first)
    with pytest.raises(Exception, match="was cancelled"):
        await result_of(later)


async def test_generations_that_begin_again_are_told_apart(server: str, docket_name: str) -> None:
    gate = Gate()

    async def waits() -> None:
        await gate.pass_through()

    async with (
        Docket(docket_name, server, execution_ttl=timedelta(0)) as forgetful,
        at_work(Worker(forgetful)),
    ):
        first = await forgetful.add(returns, key="k")(1)
        with pytest.raises(ResultUnavailable):
            await result_of(first)
        second = await forgetful.add(waits, key="k")()
        assert second.generation == first.generation == 1
        await soon(gate.reached.wait())
        await unavailable(first)
        gate.opened.set()


async def test_a_perpetual_task_that_was_replaced_is_another(docket: Docket) -> None:
    runs: list[int] = []

    async def again(number: int, p: Perpetual = Perpetual()) -> int:
        runs.append(number)
        if runs.count(number) == 3:
            p.cancel()
        return runs.count(number)

    first = await docket.add(again, key="k")(1)
    await soon(_ended(docket))
    assert await result_of(first) == 3
    second = await docket.add(again, key="k")(2)
    await soon(_ended(docket))

    assert await result_of(second) == 3
    await unavailable(first)


async def _ended(docket: Docket) -> None:
    async for event in (await found(docket, "k")).subscribe():
        if event["type"] == "state" and event["state"].value == "completed":
            execution = await found(docket, "k")
            if execution.state.value == "completed":
                return


async def test_one_that_was_found_and_one_that_was_there_already_are_waited_for(
    docket: Docket,
) -> None:
    gate = Gate()

    async def waits() -> str:
        await gate.pass_through()
        return "waited"

    added = await docket.add(waits, key="k")()
    kept = await docket.add(returns, key="k")(2)
    seen = await found(docket, "k")
    assert kept.disposition is Disposition.ALREADY_SCHEDULED
    gate.opened.set()
    assert [await result_of(e) for e in (added, kept, seen)] == ["waited"] * 3

    assert await result_of(await docket.add(returns, key="k")(3)) == 3
    for execution in added, kept, seen:
        await unavailable(execution)
    await kept.sync()  # Whoever asks for the newest one of the key gets it.
    assert await result_of(kept) == 3
