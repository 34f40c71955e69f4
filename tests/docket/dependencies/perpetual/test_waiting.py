"""Waiting for the result of a perpetual task: only its last run leaves one."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from docket import Docket, ExecutionCancelled, Perpetual, Worker
from docket.errors import ResultUnavailable
from tests.support.dockets import PATIENCE, Gate, at_work, found, soon
from tests.support.store import until

pytestmark = [pytest.mark.anyio, pytest.mark.statement(31)]

LONG = timedelta(hours=1)


@pytest.mark.parametrize("fails", [False, True])
async def test_the_result_of_a_run_that_has_a_successor_is_none(
    docket: Docket, fails: bool
) -> None:
    async def task(perpetual: Perpetual = Perpetual(every=LONG)) -> str:
        if fails:
            raise LookupError
        return "nobody keeps it"

    execution = await docket.add(task, key="k")()
    waiting = asyncio.create_task(execution.get_result(timeout=PATIENCE))
    await execution.sync()
    worker = Worker(docket)
    async with at_work(worker):
        await until(lambda: worker.counters.perpetuated == 1)

    assert await soon(waiting) is None


async def test_whoever_waits_gets_the_end_of_the_run_under_way_or_of_the_next_one(
    docket: Docket,
) -> None:
    gates = [Gate(), Gate()]

    async def task(n: int, perpetual: Perpetual = Perpetual(every=LONG)) -> int:
        if n < len(gates):
            perpetual.after(timedelta(0))
            perpetual.perpetuate(n + 1)
            await gates[n].pass_through()
        return n

    first = await docket.add(task, key="k")(0)
    async with at_work(Worker(docket)):
        await soon(gates[0].reached.wait())
        under_way = asyncio.create_task(first.get_result())
        await first.sync()
        gates[0].opened.set()
        assert await soon(under_way) is None

        await soon(gates[1].reached.wait())
        # Of an execution of long ago too, it is the run under way that counts.
        again = asyncio.create_task(first.get_result())
        await first.sync()
        assert not again.done()
        gates[1].opened.set()
        assert await soon(again) is None

    with pytest.raises(TimeoutError, match=r"^Timeout waiting for execution k to complete$"):
        await first.get_result(timeout=timedelta(milliseconds=20))


async def test_who_waits_for_one_that_is_replaced_does_not_wait_for_the_replacement(
    docket: Docket,
) -> None:
    async def task(perpetual: Perpetual = Perpetual(every=LONG)) -> None: ...

    execution = await docket.add(task, datetime.now(UTC) + LONG, "k")()
    waiting = asyncio.create_task(execution.get_result())
    await (await found(docket, "k")).sync()

    replacement = await docket.replace(task, datetime.now(UTC) + 2 * LONG, "k")()
    with pytest.raises(ResultUnavailable, match="The key of task 'k' was used again"):
        await soon(waiting)
    waiting = asyncio.create_task(replacement.get_result())
    await docket.cancel("k")

    with pytest.raises(ExecutionCancelled, match=r"^Execution k was cancelled$"):
        await soon(waiting)


async def test_the_result_of_the_last_run_is_that_of_the_key(docket: Docket) -> None:
    async def task(n: int, perpetual: Perpetual = Perpetual()) -> int:
        perpetual.perpetuate(n + 1)
        return n

    execution = await docket.add(task, key="k")(1)
    async with Worker(docket) as worker:
        await soon(worker.run_at_most({"k": 3}))

    assert await execution.get_result() == 3


async def test_so_is_that_of_a_task_that_cancels_itself(docket: Docket) -> None:
    async def task(perpetual: Perpetual = Perpetual()) -> str:
        perpetual.cancel()
        return "the last"

    execution = await docket.add(task, key="k")()
    async with Worker(docket) as worker:
        await soon(worker.run_until_finished())

    assert await execution.get_result(timeout=PATIENCE) == "the last"
