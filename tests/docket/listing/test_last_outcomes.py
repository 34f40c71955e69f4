"""How the runs of a task that recurs ended: told from its record, which goes from run to run."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from docket import Docket, Perpetual, Worker
from docket.clock import now
from docket.listing import ListedState, RecurringTask
from tests.support.dockets import at_work, soon

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
FAILED, COMPLETED = ListedState.FAILED, ListedState.COMPLETED

#: How the next runs end: True is well.
ends: Iterator[bool] = iter(())


async def tick(perpetual: Perpetual = Perpetual(every=HOUR)) -> None:
    if not next(ends):
        raise ValueError("not today")


async def begin(docket: Docket, *wanted: bool) -> None:
    """Adds the task, whose runs end as told; none begins by itself but the first."""
    global ends
    ends = iter(wanted)
    await docket.add(tick, key="ticks")()


async def recurring(docket: Docket) -> RecurringTask:
    (found,) = await docket.recurring()
    return found


async def after_run(docket: Docket, number: int) -> RecurringTask:
    """Waits for the end of a run of the task, then tells of it."""

    async def look() -> RecurringTask:
        # Of what goes from one state to another meanwhile, a listing may see neither.
        while (details := await docket.describe("ticks")) is None or (
            details.summary.generation <= number
        ):
            pass
        return await recurring(docket)

    return await soon(look())


async def test_one_that_never_ran_has_no_outcome(docket: Docket) -> None:
    await begin(docket)

    found = await recurring(docket)

    assert (found.last_outcome, found.last_success_at, found.last_failure_at) == (None, None, None)


async def test_the_last_success_outlives_the_failures_after_it(docket: Docket) -> None:
    began = now()
    await begin(docket, True, False, False, True)
    async with Worker(docket) as worker, at_work(worker):
        first = await after_run(docket, 1)
        await docket.run_now("ticks")
        second = await after_run(docket, 2)
        await docket.run_now("ticks")
        third = await after_run(docket, 3)
        await docket.run_now("ticks")
        fourth = await after_run(docket, 4)

    assert (first.last_outcome, first.last_failure_at) == (COMPLETED, None)
    assert first.last_success_at is not None
    assert abs(first.last_success_at - began) < HOUR
    assert second.last_outcome is third.last_outcome is FAILED
    assert second.last_success_at == third.last_success_at == first.last_success_at
    assert first.last_success_at < at(second.last_failure_at) < at(third.last_failure_at)
    assert fourth.last_outcome is COMPLETED
    assert fourth.last_failure_at == third.last_failure_at
    assert at(fourth.last_success_at) > at(third.last_failure_at)


async def test_it_is_known_where_no_failure_is_kept(server: str, docket_name: str) -> None:
    async with Docket(docket_name, server, keep_failed=timedelta(0)) as docket:
        await begin(docket, False)
        async with Worker(docket) as worker, at_work(worker):
            found = await after_run(docket, 1)

    assert found.last_failure is None
    assert found.last_outcome is FAILED


async def test_whoever_schedules_it_anew_takes_it_over(docket: Docket) -> None:
    await begin(docket, True, False)
    async with Worker(docket) as worker, at_work(worker):
        await after_run(docket, 1)
        await docket.run_now("ticks")
        ran = await after_run(docket, 2)
        await docket.replace(tick, now() + HOUR, key="ticks")()
        replaced = await recurring(docket)
        await docket.cancel("ticks")
        gone = await docket.recurring()
        await docket.add(tick, now() + HOUR, key="ticks")()
        again = await recurring(docket)

    assert gone == []
    assert ran.last_success_at is not None
    assert replaced.execution.generation < again.execution.generation
    for each in (replaced, again):
        assert (each.last_success_at, each.last_failure_at) == (
            ran.last_success_at,
            ran.last_failure_at,
        )


@pytest.mark.parametrize("well", [True, False], ids=["well", "badly"])
async def test_the_end_of_the_last_run_is_taken_over_too(docket: Docket, well: bool) -> None:
    await begin(docket, well)
    async with Worker(docket) as worker:
        await soon(worker.run_at_most({"ticks": 1}))
    described = await docket.describe("ticks")
    assert described is not None
    ended_at = described.summary.ended_at

    await docket.add(tick, now() + HOUR, key="ticks")()

    found = await recurring(docket)
    assert found.last_outcome is (COMPLETED if well else FAILED)
    assert ended_at is not None
    assert ended_at == (found.last_success_at if well else found.last_failure_at)


async def test_a_retry_takes_it_over(docket: Docket) -> None:
    await begin(docket, True, False)
    async with Worker(docket) as worker:
        async with at_work(worker):
            ran = await after_run(docket, 1)
        await docket.run_now("ticks")
        await soon(worker.run_at_most({"ticks": 1}))

    await docket.retry("ticks")

    found = await recurring(docket)
    assert found.last_outcome is FAILED
    assert found.last_success_at == ran.last_success_at is not None


async def test_another_task_under_the_key_does_not(docket: Docket) -> None:
    async def once() -> None: ...

    await begin(docket, True)
    async with Worker(docket) as worker, at_work(worker):
        await after_run(docket, 1)
        await docket.replace(once, now() + HOUR, key="ticks")()

    described = await docket.describe("ticks")
    assert described is not None
    assert described.summary.last_success_at is None


async def test_what_somebody_else_wrote_is_no_time(docket: Docket) -> None:
    await begin(docket)
    async with docket.redis() as redis:
        await redis.hset(docket.runs_key("ticks"), "last_success", "yesterday")
        await redis.hset(docket.runs_key("ticks"), "last_failure", "\xff")

    found = await recurring(docket)

    assert (found.last_outcome, found.last_success_at, found.last_failure_at) == (None, None, None)


def at(instant: datetime | None) -> datetime:
    assert instant is not None
    return instant
