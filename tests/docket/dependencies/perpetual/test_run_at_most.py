"""`Worker.run_at_most`: tasks that would go on for ever, a limited number of times."""

from datetime import timedelta

import pytest

from docket import Docket, ExecutionState, Perpetual, Retry, Worker
from docket.lifecycle import Cancelled, Completed, Failed, Requeued, Retried
from docket.services.run_quota import RunQuota
from tests.support.dockets import found, result_of, soon

pytestmark = pytest.mark.anyio


async def test_it_ends_when_the_limited_keys_have_had_their_runs(docket: Docket) -> None:
    runs: dict[str, int] = {"a": 0, "b": 0}

    async def task(which: str, perpetual: Perpetual = Perpetual()) -> str:
        runs[which] += 1
        return which

    a = await docket.add(task, key="a")("a")
    await docket.add(task, key="b")("b")
    async with Worker(docket) as worker:
        await soon(worker.run_at_most({"a": 2, "b": 5}))

    assert runs == {"a": 2, "b": 5}
    await a.sync()
    assert a.state is ExecutionState.COMPLETED
    assert await result_of(a) == "a"


async def test_other_tasks_run_as_ever(docket: Docket) -> None:
    async def task() -> str:
        return "ran"

    execution = await docket.add(task)()
    async with Worker(docket) as worker:
        await soon(worker.run_at_most({"another": 1}))

    assert await result_of(execution) == "ran"


async def test_a_key_that_may_not_run_at_all_is_cancelled(docket: Docket) -> None:
    async def task() -> None:
        raise AssertionError("it ran")

    await docket.add(task, key="k")()
    async with Worker(docket) as worker:
        await soon(worker.run_at_most({"k": 0}))

    assert (await found(docket, "k")).state is ExecutionState.CANCELLED
    assert worker.counters.cancelled == 1


async def test_attempts_count_as_runs(docket: Docket) -> None:
    attempts: list[int] = []

    async def task(retry: Retry = Retry.forever(delay=timedelta(milliseconds=1))) -> None:
        attempts.append(retry.attempt)
        raise ValueError("each time")

    await docket.add(task, key="k")()
    async with Worker(docket) as worker:
        await soon(worker.run_at_most({"k": 3}))

    assert attempts == [1, 2, 3]
    assert (await found(docket, "k")).state is ExecutionState.FAILED


async def test_the_limit_is_of_that_call_alone(docket: Docket) -> None:
    async def task() -> str:
        return "ran"

    async with Worker(docket) as worker:
        await soon(worker.run_at_most({"k": 0}))
        execution = await docket.add(task, key="k")()
        await soon(worker.run_until_finished())

    assert await result_of(execution) == "ran"


def test_an_outcome_is_bound_only_when_nothing_is_left() -> None:
    allowance = RunQuota({"k": 1})
    error = ValueError()
    again = Retried(1.0, 2, error=error)
    assert allowance.bound("k", again) is again
    assert allowance.take("k")
    assert allowance.bound("k", again) == Failed(error)
    assert allowance.bound("k", Retried(1.0, 2)) == Cancelled()
    assert allowance.bound("k", Completed(1)) == Completed(1)
    assert allowance.bound("k", Requeued()) == Requeued()
    assert allowance.bound("free", again) is again
    assert not allowance.take("k")


def test_a_run_that_its_limits_withheld_is_given_back() -> None:
    allowance = RunQuota({"k": 1})
    assert allowance.take("k")
    allowance.give_back("k")
    allowance.give_back("free")
    assert allowance.take("k")
    assert not allowance.take("k")
