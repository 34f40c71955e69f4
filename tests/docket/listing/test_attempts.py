"""The memory of what failed: kept executions, and their attempts."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated

import pytest

from docket import Docket, Logged, Perpetual, Retry, Timeout, Worker
from docket.listing import ListedState
from tests.support.dockets import Gate, at_work, soon
from tests.support.store import until

pytestmark = pytest.mark.anyio


async def fail(order: Annotated[str, Logged()] = "", secret: str = "") -> None:
    raise ValueError(f"no stock for {order}")


async def fail_thrice(retry: Retry = Retry(attempts=3)) -> None:
    raise ConnectionError(f"attempt {retry.attempt}")


async def hang(timeout: Timeout = Timeout(timedelta(milliseconds=20))) -> None:
    await asyncio.sleep(3600)


async def fail_again_and_again(perpetual: Perpetual = Perpetual(timedelta(hours=1))) -> None:
    raise KeyError("always")


async def run(docket: Docket) -> None:
    await soon(Worker(docket).run_until_finished())


async def test_each_attempt_of_a_failed_task_is_remembered_with_its_error(docket: Docket) -> None:
    await docket.add(fail_thrice, key="k")()
    await run(docket)

    details = await docket.describe("k")

    assert details is not None
    assert details.summary.state is ListedState.FAILED
    assert details.summary.error == "ConnectionError: attempt 3"
    assert [(a.number, a.how, a.error) for a in details.attempts] == [
        (n, "failed", f"ConnectionError: attempt {n}") for n in (1, 2, 3)
    ]
    for attempt in details.attempts:
        assert attempt.worker
        assert attempt.traceback is not None
        assert "in fail_thrice" in attempt.traceback
        assert attempt.started_at is not None
        assert attempt.ended_at is not None
        assert attempt.started_at <= attempt.ended_at


async def test_an_attempt_that_timed_out_says_so(docket: Docket) -> None:
    await docket.add(hang, key="k")()
    await run(docket)

    details = await docket.describe("k")

    assert details is not None
    assert [a.how for a in details.attempts] == ["timed out"]


async def test_a_run_that_was_handed_back_is_an_attempt(docket: Docket) -> None:
    gate = Gate()
    docket.register(gate.pass_through, ["gate"])
    await docket.add("gate", key="k")()
    async with at_work(Worker(docket, name="first")):
        await soon(gate.reached.wait())

    details = await docket.describe("k")

    assert details is not None
    assert details.summary.state is ListedState.QUEUED
    assert [(a.how, a.worker, a.error) for a in details.attempts] == [
        ("handed back", "first", None)
    ]


async def test_a_task_whose_process_died_says_so(docket: Docket) -> None:
    store = docket.transitions
    await docket.add(fail, key="k")()
    await store.register("dead.1", ["fail"], timedelta(minutes=1))
    await store.exchange("dead.1", 1, 1, [], may_take_quarantined=True)
    await store.adopt("dead.1", "everyone", 3, (b"", "PoisonTask: no"))
    await store.register("lost.2", ["fail"], timedelta(minutes=1))
    await store.exchange("lost.2", 1, 1, [], may_take_quarantined=True)
    await store.adopt("lost.2", "nobody", 3, (b"", "PoisonTask: no"))

    details = await docket.describe("k")

    assert details is not None
    assert [(a.how, a.worker) for a in details.attempts] == [
        ("process died", "dead"),
        ("worker lost", "lost"),
    ]


async def test_a_failure_outlives_its_record_and_the_next_execution_of_its_key(
    server: str, docket_name: str
) -> None:
    async with Docket(docket_name, server, execution_ttl=timedelta(0)) as docket:
        await docket.add(fail, key="k")("o-1")
        await run(docket)
        assert await docket.get_execution("k") is None
        await docket.add(fail, datetime.now(UTC) + timedelta(hours=1), "k")("o-2")

        page = await docket.executions("failed")
        details = await docket.describe("k")

    assert [(e.key, e.error) for e in page.executions] == [("k", "ValueError: no stock for o-1")]
    assert details is not None
    assert details.summary.state is ListedState.SCHEDULED
    assert details.last_failure == page.executions[0]


async def test_of_a_perpetual_task_the_last_failure_is_kept(docket: Docket) -> None:
    await docket.add(fail_again_and_again, key="k")()
    async with at_work(Worker(docket)):
        await until(lambda: _has_failed(docket))

    details = await docket.describe("k")

    assert details is not None
    assert details.summary.state is ListedState.SCHEDULED
    assert details.attempts == ()
    assert details.last_failure is not None
    assert details.last_failure.error == "KeyError: 'always'"


async def _has_failed(docket: Docket) -> bool:
    return bool((await docket.executions("failed")).executions)


async def test_no_more_are_kept_than_asked_for_and_the_oldest_give_way(
    server: str, docket_name: str
) -> None:
    async with Docket(docket_name, server, keep_failed_most=2) as docket:
        for n in range(4):
            await docket.add(fail, key=f"k{n}")(f"o-{n}")
            await run(docket)
        page = await docket.executions("failed")
        async with docket.redis() as redis:
            kept = [key async for key in redis.scan_iter(match=docket.keys.failed_record("*"))]

    assert [e.key for e in page.executions] == ["k3", "k2"]
    assert len(kept) == 2


async def test_nothing_is_kept_where_that_is_asked_for(server: str, docket_name: str) -> None:
    async with Docket(docket_name, server, keep_failed=timedelta(0)) as docket:
        await docket.add(fail, key="k")()
        await run(docket)
        assert (await docket.executions("failed")).executions == ()
        assert (await docket.executions("completed")).executions == ()


async def test_everything_that_is_kept_expires(docket: Docket) -> None:
    await docket.add(fail, key="k")()
    await docket.add(fail, datetime.now(UTC) + timedelta(hours=1), "c")()
    await docket.cancel("c")
    await run(docket)

    async with docket.redis() as redis:
        for name in (docket.keys.failed, docket.keys.failed_record("k")):
            assert timedelta(days=6) < timedelta(seconds=await redis.ttl(name))
        assert 0 < await redis.ttl(docket.keys.cancelled) <= 900


@pytest.mark.parametrize("settings", [{"keep_failed": timedelta(-1)}, {"keep_failed_most": 0}])
def test_what_cannot_be_kept_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="keep_failed"):
        Docket(**settings)  # pyright: ignore[reportArgumentType]


async def test_the_log_of_attempts_is_bounded(docket: Docket) -> None:
    async def fail_at_length(retry: Retry = Retry(attempts=30)) -> None:
        raise ValueError("x" * 10_000)

    docket.register(fail_at_length)
    await docket.add(fail_at_length, key="k")()
    await run(docket)

    details = await docket.describe("k")
    async with docket.redis() as redis:
        stored = await redis.hstrlen(docket.keys.record("k"), "attempts")

    assert details is not None
    assert 0 < len(details.attempts) <= 20
    assert details.attempts[-1].number == 30
    assert stored <= 65_536


async def test_an_error_with_the_separators_of_the_log_forges_no_attempt(docket: Docket) -> None:
    async def forge() -> None:
        raise ValueError("a\x1e9\x1fcompleted\x1fw\x1f1\x1f2")

    docket.register(forge)
    await docket.add(forge, key="k")()
    await run(docket)

    details = await docket.describe("k")

    assert details is not None
    assert [a.how for a in details.attempts] == ["failed"]
