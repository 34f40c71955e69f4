"""`Worker.run_at_most`: tasks that would go on for ever, a limited number of times."""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from docket import (
    Disposition,
    Docket,
    ExecutionCancelled,
    ExecutionState,
    Perpetual,
    Retry,
    Worker,
)
from docket.dependencies import AdmissionBlocked, Dependency
from docket.lifecycle import Completed, Due, Perpetuated, Requeued, Successor
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
    assert (await found(docket, "k")).state is ExecutionState.CANCELLED


async def test_the_limit_is_of_that_call_alone(docket: Docket) -> None:
    async def task() -> str:
        return "ran"

    async with Worker(docket) as worker:
        await soon(worker.run_at_most({"k": 0}))
        execution = await docket.add(task, key="k")()
        await soon(worker.run_until_finished())

    assert await result_of(execution) == "ran"


@pytest.mark.statement(4)
async def test_an_attempt_over_the_limit_is_cancelled_and_struck_in_the_log(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    async def task(which: str, retry: Retry = Retry(attempts=9)) -> None:
        raise ValueError(which)

    one = await docket.add(task, key="one")("one")
    other = await docket.add(task, key="other")("other")
    async with Worker(docket) as worker:
        await soon(worker.run_at_most({"one": 1, "other": 2}))

    for execution in (one, other):
        await execution.sync()
        assert (execution.state, execution.error) == (ExecutionState.CANCELLED, None)
        with pytest.raises(ExecutionCancelled):
            await result_of(execution)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert sorted(warnings) == ["🗙 task(...){one}", "🗙 task(...){other}"]
    assert (worker.counters.started, worker.counters.stricken) == (3, 2)


@pytest.mark.statement(4)
@pytest.mark.parametrize("fails", [True, False])
async def test_the_last_run_of_a_perpetual_task_ends_as_it_ended(
    docket: Docket, fails: bool
) -> None:
    async def task(perpetual: Perpetual = Perpetual()) -> str:
        if fails:
            raise ValueError("each time")
        return "done"

    execution = await docket.add(task, key="k")()
    async with Worker(docket) as worker:
        await soon(worker.run_at_most({"k": 2}))

    await execution.sync()
    assert execution.state is (ExecutionState.FAILED if fails else ExecutionState.COMPLETED)
    assert worker.counters.started == 2
    assert (await docket.snapshot()).total_tasks == 0


@pytest.mark.statement(4)
async def test_a_key_that_has_had_its_runs_is_stricken_for_this_docket_until_the_end(
    docket: Docket,
) -> None:
    seen: list[tuple[str, Disposition]] = []

    async def again(which: str) -> None:
        for schedule in (docket.add(again, key="k"), docket.replace(again, datetime.now(UTC), "k")):
            execution = await schedule(which)
            seen.append((which, execution.disposition))

    await docket.add(again, key="k")("itself")
    await docket.add(again, key="later", when=datetime.now(UTC) + timedelta(milliseconds=50))("x")
    async with Worker(docket) as worker:
        await soon(worker.run_at_most({"k": 1}))

    assert seen == [(which, Disposition.STRUCK) for which in ("itself", "itself", "x", "x")]
    assert worker.counters.started == 2
    assert (await docket.add(again, key="k")("after")).disposition is Disposition.SCHEDULED


def test_an_outcome_is_bound_only_when_nothing_is_left() -> None:
    quota = RunQuota({"k": 1})
    perpetuated = Perpetuated(Completed(1), Successor(Due.from_now(1.0)))
    assert quota.bound("k", perpetuated) is perpetuated
    quota.take("k")
    assert not quota.allows_another("k")
    assert quota.bound("k", perpetuated) == Completed(1)
    assert quota.bound("k", Requeued()) == Requeued()
    assert quota.bound("free", perpetuated) is perpetuated


def test_a_run_that_its_limits_withheld_is_given_back() -> None:
    quota = RunQuota({"k": 1})
    quota.take("k")
    quota.give_back("k")
    quota.give_back("free")
    assert quota.allows_another("k")
    quota.take("k")
    assert not quota.allows_another("k")


@pytest.mark.statement(4)
async def test_a_run_that_a_dependency_turned_away_does_not_count(docket: Docket) -> None:
    turned_away: list[int] = []

    class Gate(Dependency[None]):
        async def __aenter__(self) -> None:
            if len(turned_away) < 3:
                turned_away.append(1)
                raise AdmissionBlocked(
                    self.execution.get(), "not yet", retry_delay=timedelta(milliseconds=1)
                )

    async def task(gate: None = Gate()) -> str:  # type: ignore[assignment]
        return "ran"

    execution = await docket.add(task, key="k")()
    async with Worker(docket) as worker:
        await soon(worker.run_at_most({"k": 1}))

    assert await result_of(execution) == "ran"
