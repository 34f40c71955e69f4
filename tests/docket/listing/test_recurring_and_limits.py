"""The tasks that run again and again, and the limits in use, as operators see them."""

from datetime import timedelta

import pytest

from docket import ConcurrencyLimit, Docket, Perpetual, Worker
from docket.clock import now
from docket.listing import Filter, LimitInUse, PlaceInLine
from tests.support.dockets import Gate, at_work, finish, soon

pytestmark = pytest.mark.anyio


async def greet() -> None: ...


async def test_what_runs_again_and_again_is_told_from_the_rest(docket: Docket) -> None:
    async def tick(perpetual: Perpetual = Perpetual(every=timedelta(hours=1))) -> None: ...

    later = now() + timedelta(hours=2)
    await docket.add(tick, key="ticks")()
    await docket.add(greet, later, key="once")()
    async with Worker(docket) as worker:
        await soon(worker.run_at_most({"ticks": 1}))
    assert await docket.recurring() == []
    await docket.add(tick, later, key="ticks")()

    (found,) = await docket.recurring()

    assert (found.execution.key, found.is_automatic) == ("ticks", False)
    assert found.execution.when == later
    assert found.last_failure is None


async def test_an_automatic_task_is_known_by_its_name_and_by_its_last_failure(
    docket: Docket,
) -> None:
    failures = iter([ValueError("not today")])

    async def tick(
        perpetual: Perpetual = Perpetual(every=timedelta(hours=1), automatic=True),
    ) -> None:
        for error in failures:
            raise error

    docket.register(tick)
    async with Worker(docket) as worker, at_work(worker):
        while not (await docket.executions("failed")).executions:
            pass
        (found,) = await docket.recurring()

    assert (found.execution.key, found.is_automatic) == ("tick", True)
    assert found.last_failure is not None
    assert found.last_failure.error == "ValueError: not today"


async def test_limits_have_their_holders_and_those_that_wait_in_order(docket: Docket) -> None:
    gate = Gate()

    async def sync(
        customer: str, limit: ConcurrencyLimit = ConcurrencyLimit("customer", max_concurrent=1)
    ) -> None:
        await gate.pass_through()

    assert await docket.limits() == []
    async with Worker(docket) as worker, at_work(worker):
        for key in ("first", "second", "third"):
            await docket.add(sync, key=key)("acme")
            while (await docket.backlog()).queued:
                pass
        while (await docket.backlog()).waiting < 2:
            pass
        limits = await docket.limits()
        (third,) = (await docket.executions("waiting", key_prefix="third")).executions
        places = await docket.places_in_line(third)
        gate.opened.set()

    assert limits == [
        LimitInUse(
            scope="customer:acme",
            size=1,
            held=1,
            waiting=2,
            holders=("first",),
            next_in_line=("second", "third"),
        )
    ]
    assert places == [PlaceInLine("customer:acme", 2, 2)]


async def test_a_limit_that_others_have_overwritten_is_empty(docket: Docket) -> None:
    gate = Gate()

    async def sync(
        customer: str, limit: ConcurrencyLimit = ConcurrencyLimit("customer", max_concurrent=1)
    ) -> None:
        await gate.pass_through()

    async with Worker(docket) as worker, at_work(worker):
        await docket.add(sync, key="first")("acme")
        await soon(gate.reached.wait())
        async with docket.redis() as redis:
            (entry,) = await redis.hkeys(docket.keys.holds)
            await redis.hset(docket.keys.holds, entry, b"\xc1 nonsense")
        found = await docket.limits()
        gate.opened.set()

    assert found == []


async def test_a_page_looks_at_no_more_than_it_is_told(docket: Docket) -> None:
    for number in range(600):
        await docket.add(greet, now() + timedelta(hours=1), key=f"task-{number}")()
    wanted = Filter.of("scheduled", key_prefix="nothing")

    page = await docket.executions_matching(wanted, most_looked_at=250)

    assert page.executions == ()
    assert 250 <= page.looked_at < 600
    assert page.cursor is not None
    rest = await docket.executions_matching(wanted, cursor=page.cursor)
    assert (rest.looked_at, rest.cursor) == (600 - page.looked_at, None)


async def test_a_batch_waits_for_the_progress_of_the_one_before_and_ends_with_its_error(
    docket: Docket,
) -> None:
    async def fail() -> None:
        raise ValueError("always")

    for number in range(100):
        await docket.add(fail, key=f"task-{number}")()
    await finish(docket)
    told: list[int] = []

    async def stop(result: object) -> None:
        told.append(getattr(result, "matched", 0))
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        await docket.retry_matching(Filter.of("failed"), progress=stop)

    assert told == [64]
    assert (await docket.backlog()).queued == 64
