"""Acts: retry, run now, reschedule, and each for all that a filter means."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from docket import ConcurrencyLimit, Docket, ExecutionState, Retry, Worker
from docket.errors import NoSuchExecution, WrongState
from docket.listing import BulkResult, Filter, ListedState
from tests.support.dockets import Gate, at_work, result_of, soon
from tests.support.store import until

pytestmark = pytest.mark.anyio

broken = True


@pytest.fixture(autouse=True)
def is_broken() -> None:
    globals()["broken"] = True


async def work(number: int, retry: Retry = Retry(attempts=2)) -> int:
    if broken:
        raise ValueError(f"broken at {number}")
    return number * 2


async def one_by_one(limit: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=1)) -> None:
    await asyncio.sleep(3600)


def in_hours(hours: float) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


async def run(docket: Docket) -> None:
    await soon(Worker(docket).run_until_finished())


async def fail(docket: Docket, *keys: str) -> None:
    for number, key in enumerate(keys):
        await docket.add(work, key=key)(number)
    await run(docket)


async def test_a_failed_task_is_retried_with_its_arguments_and_knows_its_predecessor(
    docket: Docket,
) -> None:
    await docket.add(work, key="k")(21)
    await run(docket)
    globals()["broken"] = False

    retried = await docket.retry("k")

    assert retried is not None
    assert retried.state is ListedState.QUEUED
    assert retried.generation == 2
    assert retried.attempt == 1
    assert retried.predecessor is not None
    assert (retried.predecessor.generation, retried.predecessor.state) == (1, "failed")
    await run(docket)
    execution = await docket.get_execution("k")
    assert execution is not None
    assert await result_of(execution) == 42
    details = await docket.describe("k")
    assert details is not None
    assert [attempt.number for attempt in details.attempts] == [1, 2]
    assert (await docket.executions("failed")).executions == ()


async def test_a_failure_is_retried_after_its_record_has_expired(
    server: str, docket_name: str
) -> None:
    async with Docket(docket_name, server, execution_ttl=timedelta(0)) as docket:
        await fail(docket, "k")
        assert await docket.get_execution("k") is None

        retried = await docket.retry("k")

    assert retried is not None
    assert retried.state is ListedState.QUEUED


async def test_a_cancelled_task_is_retried(docket: Docket) -> None:
    await docket.add(work, in_hours(1), "k")(1)
    await docket.cancel("k")

    await docket.retry("k")

    execution = await docket.get_execution("k")
    assert execution is not None
    assert execution.state is ExecutionState.QUEUED
    assert execution.args == (1,)


async def test_a_task_that_waits_runs_or_was_completed_is_not_retried(docket: Docket) -> None:
    await docket.add(work, in_hours(1), "waits")(1)
    globals()["broken"] = False
    await docket.add(work, key="done")(1)
    await soon(Worker(docket).run_at_most({"done": 1}))

    with pytest.raises(WrongState, match="'waits' cannot be retried: it is scheduled"):
        await docket.retry("waits")
    with pytest.raises(WrongState, match="'done' cannot be retried: it is completed"):
        await docket.retry("done")
    with pytest.raises(NoSuchExecution, match="retry task 'none'"):
        await docket.retry("none")


async def test_two_that_retry_the_same_task_make_one_of_it(docket: Docket) -> None:
    await fail(docket, "k")

    replies = await asyncio.gather(docket.retry("k"), docket.retry("k"), return_exceptions=True)

    assert sum(isinstance(reply, WrongState) for reply in replies) == 1
    assert (await docket.counts()).by_state[ListedState.QUEUED] == 1


async def test_a_scheduled_task_runs_now(docket: Docket) -> None:
    globals()["broken"] = False
    await docket.add(work, in_hours(1), "k")(3)

    await docket.run_now("k")
    await docket.run_now("k")

    await run(docket)
    execution = await docket.get_execution("k")
    assert execution is not None
    assert await result_of(execution) == 6


async def test_a_task_that_waits_gets_another_time(docket: Docket) -> None:
    await docket.add(work, in_hours(1), "scheduled")(3)
    await docket.add(work, key="queued")(3)
    when = in_hours(5)

    await docket.reschedule("scheduled", when)
    await docket.reschedule("queued", when)

    page = await docket.executions("scheduled")
    assert {e.key: e.when for e in page.executions} == {"scheduled": when, "queued": when}
    assert (await docket.counts()).by_state[ListedState.QUEUED] == 0


async def test_the_time_of_a_task_that_runs_ended_or_waits_for_a_limit_stays(
    docket: Docket,
) -> None:
    docket.register(one_by_one)
    await docket.add(one_by_one, key="a")()
    await docket.add(one_by_one, key="b")()
    async with at_work(Worker(docket)):
        await until(lambda: _waits(docket))
        (running,) = (await docket.executions("running")).executions
        (waiting,) = (await docket.executions("waiting")).executions
        with pytest.raises(WrongState, match="it runs"):
            await docket.run_now(running.key)
        with pytest.raises(WrongState, match="it waits for a limit"):
            await docket.reschedule(waiting.key, in_hours(1))
    await docket.cancel(waiting.key)
    with pytest.raises(WrongState, match="it has ended"):
        await docket.run_now(waiting.key)
    with pytest.raises(NoSuchExecution, match="run task 'none'"):
        await docket.run_now("none")
    with pytest.raises(TypeError):
        await docket.reschedule(running.key, datetime(2026, 1, 1))  # noqa: DTZ001


async def _waits(docket: Docket) -> bool:
    return (await docket.counts()).by_state[ListedState.WAITING] == 1


# Many --------------------------------------------------------------------------------------------


async def test_all_failures_of_a_filter_are_retried_in_batches(docket: Docket) -> None:
    await fail(docket, *(f"k{n}" for n in range(150)), "other")
    seen: list[BulkResult] = []

    result = await docket.retry_matching(Filter.of(key_prefix="k"), progress=seen.append)

    assert (result.matched, result.done, result.skipped) == (150, 150, {})
    assert [each.done for each in seen][:2] == [64, 128]
    counts = (await docket.counts()).by_state
    assert (counts[ListedState.QUEUED], counts[ListedState.FAILED]) == (150, 1)


async def test_what_changed_meanwhile_is_skipped_and_counted(docket: Docket) -> None:
    await fail(docket, *(f"k{n:02}" for n in range(70)))
    await docket.add(work, in_hours(1), "k00")(1)

    result = await docket.retry_matching(Filter.of("failed"))

    assert (result.matched, result.done, result.skipped) == (70, 69, {"live": 1})


async def test_all_that_waits_of_a_filter_is_cancelled_or_runs_now(docket: Docket) -> None:
    calls = [docket.call(work, in_hours(1), f"{'ab'[n % 2]}{n}")(n) for n in range(100)]
    await docket.add_many(calls)

    cancelled = await docket.cancel_matching(Filter.of("scheduled", key_prefix="a"))
    moved = await docket.run_matching_now(Filter.of(key_prefix="b"))

    assert (cancelled.done, moved.done) == (50, 50)
    counts = (await docket.counts()).by_state
    assert (counts[ListedState.CANCELLED], counts[ListedState.QUEUED]) == (50, 50)


async def test_a_filter_that_matches_nothing_says_so(docket: Docket) -> None:
    assert await docket.cancel_matching(Filter.of(function="none")) == BulkResult()


async def test_a_state_that_the_act_does_not_apply_to_is_refused(docket: Docket) -> None:
    with pytest.raises(ValueError, match="'retry' applies to executions that are failed"):
        await docket.retry_matching(Filter.of("running"))
    with pytest.raises(ValueError, match=r"'run now' applies to .* scheduled, not .* failed"):
        await docket.run_matching_now(Filter.of(["scheduled", "failed"]))


async def test_an_execution_that_took_the_place_of_the_one_meant_is_not_cancelled(
    docket: Docket,
) -> None:
    await docket.add(work, in_hours(1), "k")(1)
    await docket.replace(work, in_hours(2), "k")(2)

    assert await docket.transitions.cancel("k", 1) == "changed"
    assert await docket.transitions.cancel("k", 2) == "removed"


async def test_a_running_task_of_a_filter_is_cancelled_by_its_worker(docket: Docket) -> None:
    gate = Gate()
    docket.register(gate.pass_through, ["gate"])
    await docket.add("gate", key="k")()
    async with at_work(Worker(docket)):
        await soon(gate.reached.wait())
        result = await docket.cancel_matching(Filter.of("running"))
        await until(lambda: _cancelled(docket))

    assert result.done == 1


async def _cancelled(docket: Docket) -> bool:
    return (await docket.counts()).by_state[ListedState.CANCELLED] == 1
