"""A perpetual task: each run is followed by the next, and what the task says about it holds."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from docket import Docket, ExecutionState, Perpetual, Retry, Worker
from tests.support.dockets import Gate, at_work, finish, found, soon
from tests.support.store import until

pytestmark = pytest.mark.anyio

EVERY = timedelta(milliseconds=150)
LONG = timedelta(hours=1)


async def run_at_most(docket: Docket, **runs: int) -> Worker:
    async with Worker(docket) as worker:
        await soon(worker.run_at_most(runs))
    return worker


async def run_once(docket: Docket) -> None:
    """Runs a task to the end of its first run, and leaves its successor where it is."""
    worker = Worker(docket)
    async with at_work(worker):
        await until(lambda: worker.counters.perpetuated > 0, "a successor")


async def test_it_runs_again_and_again_with_the_same_arguments(docket: Docket) -> None:
    seen: list[tuple[int, int]] = []

    async def task(a: int, b: int, perpetual: Perpetual = Perpetual()) -> None:
        seen.append((a, b))

    await docket.add(task, key="k")(1, b=2)
    worker = await run_at_most(docket, k=3)

    assert seen == [(1, 2)] * 3
    assert worker.counters.perpetuated == 2
    assert worker.counters.succeeded == 3


async def test_every_is_counted_from_start_to_start(docket: Docket) -> None:
    starts: list[datetime] = []
    dues: list[datetime] = []

    async def task(perpetual: Perpetual = Perpetual(every=EVERY)) -> None:
        execution = perpetual.execution.get()
        assert execution.started_at is not None
        starts.append(execution.started_at)
        dues.append(execution.when)

    await docket.add(task, key="k")()
    await run_at_most(docket, k=3)

    assert dues[1:] == [start + EVERY for start in starts[:-1]]


async def test_a_run_that_took_longer_than_every_is_followed_at_once(docket: Docket) -> None:
    dues: list[datetime] = []
    ends: list[datetime] = []

    async def task(perpetual: Perpetual = Perpetual(every=timedelta(milliseconds=1))) -> None:
        dues.append(perpetual.execution.get().when)
        await asyncio.sleep(0.02)
        ends.append(datetime.now(UTC))

    await docket.add(task, key="k")()
    await run_at_most(docket, k=2)

    # Not at the time that has passed: nobody is late.
    assert dues[1] >= ends[0] - timedelta(milliseconds=2)


async def test_it_runs_again_after_a_failure(docket: Docket) -> None:
    outcomes: list[str] = []

    async def task(perpetual: Perpetual = Perpetual()) -> None:
        outcomes.append("run")
        raise ValueError("every time")

    await docket.add(task, key="k")()
    worker = await run_at_most(docket, k=3)

    assert len(outcomes) == 3
    assert worker.counters.failed == 3
    assert worker.counters.perpetuated == 2
    assert (await found(docket, "k")).state is ExecutionState.FAILED


async def test_it_runs_again_after_a_dependency_that_failed(docket: Docket) -> None:
    tries: list[int] = []

    class Broken(Retry):
        def provide(self, run: Any) -> Any:
            tries.append(1)
            raise ValueError("not even this")

    async def task(broken: Any = Broken(), perpetual: Perpetual = Perpetual()) -> None: ...

    await docket.add(task, key="k")()
    await run_at_most(docket, k=3)

    assert len(tries) == 3


async def test_retries_come_before_the_successor(docket: Docket) -> None:
    attempts: list[int] = []

    async def task(retry: Retry = Retry(attempts=2), perpetual: Perpetual = Perpetual()) -> None:
        attempts.append(retry.attempt)
        raise ValueError

    await docket.add(task, key="k")()
    worker = await run_at_most(docket, k=4)

    assert attempts == [1, 2, 1, 2]
    assert (worker.counters.retried, worker.counters.perpetuated) == (2, 1)


async def test_perpetuate_changes_all_arguments_of_the_successor(docket: Docket) -> None:
    seen: list[tuple[int, str]] = []

    async def task(n: int, word: str = "default", perpetual: Perpetual = Perpetual()) -> None:
        seen.append((n, word))
        if n < 3:
            perpetual.perpetuate(n + 1)
        else:
            perpetual.perpetuate(n=n + 1, word="named")

    await docket.add(task, key="k")(1, word="first")
    await run_at_most(docket, k=4)

    assert seen == [(1, "first"), (2, "default"), (3, "default"), (4, "named")]


async def test_what_is_set_in_one_run_does_not_hold_in_the_next(docket: Docket) -> None:
    seen: list[timedelta] = []

    async def task(perpetual: Perpetual = Perpetual(every=timedelta(0))) -> None:
        seen.append(perpetual.every)
        perpetual.every = timedelta(milliseconds=1)

    await docket.add(task, key="k")()
    await run_at_most(docket, k=3)

    assert seen == [timedelta(0)] * 3


async def test_cancel_makes_a_run_the_last(docket: Docket) -> None:
    runs: list[int] = []

    async def task(perpetual: Perpetual = Perpetual()) -> str:
        runs.append(1)
        if len(runs) == 2:
            perpetual.cancel()
        return "result"

    execution = await docket.add(task, key="k")()
    worker = await finish(docket)

    assert len(runs) == 2
    assert worker.counters.perpetuated == 1
    await execution.sync()
    assert execution.state is ExecutionState.COMPLETED
    assert await execution.get_result() == "result"


@pytest.mark.parametrize("way", ["after", "every", "at"])
async def test_the_task_says_when_the_next_run_is_due(docket: Docket, way: str) -> None:
    target = datetime(2090, 1, 1, tzinfo=UTC)

    async def task(perpetual: Perpetual = Perpetual()) -> None:
        match way:
            case "after":
                perpetual.after(LONG)
            case "every":
                perpetual.every = LONG
            case _:
                perpetual.at(target)

    execution = await docket.add(task, key="k")()
    before = execution.when
    await run_once(docket)

    await execution.sync()
    assert execution.state is ExecutionState.SCHEDULED
    if way == "at":
        assert execution.when == target
    else:
        # To the second: the run itself, and the way to it, took some milliseconds.
        assert abs(execution.when - before - LONG) < timedelta(seconds=10)


async def test_an_instant_that_has_passed_is_now(docket: Docket) -> None:
    runs: list[int] = []

    async def task(perpetual: Perpetual = Perpetual(every=LONG)) -> None:
        runs.append(1)
        if len(runs) == 1:
            perpetual.at(datetime(2000, 1, 1, tzinfo=UTC))
        elif len(runs) == 2:
            perpetual.after(timedelta(seconds=-5))
        else:
            perpetual.cancel()

    await docket.add(task, key="k")()
    await finish(docket)

    assert len(runs) == 3


async def test_the_successor_is_a_new_execution_with_fresh_fields(docket: Docket) -> None:
    async def task(perpetual: Perpetual = Perpetual(every=LONG)) -> None:
        execution = perpetual.execution.get()
        await execution.progress.set_message("of the first run")

    await docket.add(task, key="k")()
    await run_once(docket)

    execution = await found(docket, "k")
    assert (execution.generation, execution.attempt) == (2, 1)
    assert execution.worker is execution.started_at is execution.completed_at is None
    assert execution.progress.message is None
    assert execution.error is None


async def test_a_task_cancelled_while_it_runs_has_no_successor(docket: Docket) -> None:
    gate = Gate()

    async def task(perpetual: Perpetual = Perpetual()) -> None:
        await gate.pass_through()

    execution = await docket.add(task, key="k")()
    async with at_work(Worker(docket)) as worker:
        await soon(gate.reached.wait())
        await docket.cancel("k")
        with pytest.raises(Exception, match="cancelled"):
            await execution.get_result(timeout=timedelta(seconds=10))
    assert worker.counters.perpetuated == 0
    assert len(gate.arrivals) == 1
    assert (await found(docket, "k")).state is ExecutionState.CANCELLED


async def test_a_cancelled_run_that_ends_by_itself_has_no_successor_either(
    docket: Docket,
) -> None:
    async def task(perpetual: Perpetual = Perpetual()) -> None:
        # What a cancellation leaves in the record, without the message that stops the run.
        await docket.connections.client().hset(docket.keys.record("k"), "cancel", "1")

    await docket.add(task, key="k")()
    await finish(docket)

    assert (await found(docket, "k")).state is ExecutionState.CANCELLED


async def test_cancelling_the_waiting_successor_ends_the_chain(docket: Docket) -> None:
    async def task(perpetual: Perpetual = Perpetual(every=LONG)) -> None: ...

    await docket.add(task, key="k")()
    await run_once(docket)
    await docket.cancel("k")
    await finish(docket)

    assert (await found(docket, "k")).state is ExecutionState.CANCELLED


async def test_a_run_that_was_replaced_leaves_the_replacement_alone(docket: Docket) -> None:
    gate = Gate()
    seen: list[str] = []

    async def task(word: str, perpetual: Perpetual = Perpetual()) -> None:
        seen.append(word)
        if word == "old":
            await gate.pass_through()
        perpetual.cancel() if word == "new" else perpetual.perpetuate("successor of old")

    await docket.add(task, key="k")("old")
    async with at_work(Worker(docket)) as worker:
        await soon(gate.reached.wait())
        replacing = await docket.replace(task, datetime.now(UTC), "k")("new")
        await replacing.get_result(timeout=timedelta(seconds=10))
        gate.opened.set()
    assert seen == ["old", "new"]
    assert worker.counters.superseded == 1
