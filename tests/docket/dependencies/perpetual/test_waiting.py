"""Waiting for the result of a perpetual task: only its last run leaves one."""

import asyncio
from datetime import timedelta

import pytest

from docket import Docket, Perpetual, Worker
from docket.errors import ResultUnavailable
from tests.support.dockets import at_work, soon
from tests.support.store import until

pytestmark = pytest.mark.anyio

LONG = timedelta(hours=1)


async def test_who_waits_for_the_result_of_a_run_that_has_a_successor_is_told_so(
    docket: Docket,
) -> None:
    async def task(perpetual: Perpetual = Perpetual(every=LONG)) -> str:
        return "nobody keeps it"

    execution = await docket.add(task, key="k")()
    waiting = asyncio.create_task(execution.get_result(timeout=LONG))
    worker = Worker(docket)
    async with at_work(worker):
        await until(lambda: worker.counters.perpetuated == 1)

    with pytest.raises(ResultUnavailable, match="of perpetual task 'k' has ended"):
        await soon(waiting)


async def test_the_result_of_the_last_run_is_that_of_the_key(docket: Docket) -> None:
    async def task(n: int, perpetual: Perpetual = Perpetual()) -> int:
        perpetual.perpetuate(n + 1)
        return n

    execution = await docket.add(task, key="k")(1)
    async with Worker(docket) as worker:
        await soon(worker.run_at_most({"k": 3}))

    assert await execution.get_result() == 3
