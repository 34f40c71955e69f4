"""Drains, hand-backs, and every other way in which a worker ends."""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from docket import CurrentExecution, Docket, Execution, ExecutionState, Retry, Worker
from docket.errors import ConnectionClosed
from tests.support.dockets import (
    PATIENCE,
    Gate,
    Told,
    at_work,
    failure_of,
    found,
    in_background,
    look,
    result_of,
    soon,
)
from tests.support.store import until

pytestmark = pytest.mark.anyio


async def nothing() -> None: ...


async def redelivered(execution: Execution = CurrentExecution()) -> tuple[bool, int]:
    return execution.redelivered, execution.attempt


class TwoRuns:
    """A task whose first run waits, for ever if nobody stops it, and whose second one returns."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.interrupted = asyncio.Event()

    async def run(self, execution: Execution = CurrentExecution()) -> tuple[bool, int]:
        if not execution.redelivered:
            try:
                await self.gate.pass_through()
            except asyncio.CancelledError:
                self.interrupted.set()
                raise
        return await redelivered(execution)


@pytest.fixture
async def runs() -> TwoRuns:
    return TwoRuns()


@asynccontextmanager
async def background(worker: Worker) -> AsyncGenerator[asyncio.Future[None]]:
    """`run_forever` in a task of its own, ready."""
    async with in_background(worker.run_forever()) as running:
        await result_of(await worker.docket.add(nothing)())
        yield running


async def test_a_drain_without_deadline_finishes_what_runs_and_claims_no_more(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    caplog.set_level(logging.INFO, "docket.worker")

    async with Worker(docket) as worker, background(worker) as running:
        execution = await docket.add(gate.pass_through)()
        await soon(gate.reached.wait())
        worker.drain()
        late = await docket.add(nothing)()
        gate.opened.set()
        await soon(running)

        assert await result_of(execution) is None
        await late.sync()
        assert late.state is ExecutionState.QUEUED
        assert "Shutdown requested, finishing 1 active tasks..." in caplog.messages


async def test_at_the_deadline_what_runs_is_requeued_and_another_worker_runs_it(
    docket: Docket, runs: TwoRuns
) -> None:
    told = Told()
    async with Worker(docket) as worker, background(worker) as running:
        execution = await docket.add(runs.run, key="key")()
        await soon(runs.gate.reached.wait())
        consumer = worker.consumer
        worker.drain(0.02)
        await soon(running)

        assert runs.interrupted.is_set()
        assert (await found(docket, "key")).state is ExecutionState.QUEUED
        async with Worker(docket) as other, at_work(other, told):
            assert await result_of(execution) == (True, 1)
        assert other.counters.redelivered == 1
        assert told.redeliveries == [consumer]
        assert (worker.counters.cancelled, worker.counters.failed) == (0, 0)


async def test_what_is_requeued_runs_before_what_waits(docket: Docket, runs: TwoRuns) -> None:
    async with Worker(docket) as worker, background(worker) as running:
        handed_back = await docket.add(runs.run)()
        await soon(runs.gate.reached.wait())
        worker.drain(0)
        waits = await docket.add(nothing)()
        await soon(running)

        async with Worker(docket, concurrency=1) as other:
            await soon(other.run_until_finished())
        assert await result_of(handed_back) == (True, 1)
        await waits.sync()
        assert handed_back.completed_at is not None
        assert waits.started_at is not None
        assert handed_back.completed_at <= waits.started_at


async def test_a_second_drain_may_bring_the_deadline_nearer_and_not_further(
    docket: Docket, runs: TwoRuns
) -> None:
    async with Worker(docket) as worker, background(worker) as running:
        await docket.add(runs.run)()
        await soon(runs.gate.reached.wait())

        worker.drain()
        worker.drain(PATIENCE.total_seconds())
        worker.drain(0.02)
        worker.drain(PATIENCE.total_seconds())
        worker.drain()
        await asyncio.wait_for(running, PATIENCE.total_seconds() / 2)

        assert runs.interrupted.is_set()


async def test_the_deadline_of_a_drain_ends_with_it(docket: Docket) -> None:
    gate = Gate()
    async with Worker(docket) as worker, background(worker) as running:
        worker.drain(0.2)
        await soon(running)

    async with background(worker) as running:
        execution = await docket.add(gate.pass_through)()
        await soon(gate.reached.wait())
        # The time of the first drain passes: this one is bounded by it and by nothing else.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(running), 0.3)
        assert len(worker.running_tasks()) == 1
        gate.opened.set()
        await result_of(execution)
        assert worker.counters.started == 3


async def test_a_task_that_answers_its_requeue_with_an_error_is_requeued(
    docket: Docket,
) -> None:
    gate = Gate()

    async def complains(
        execution: Execution = CurrentExecution(), retry: Retry = Retry(attempts=5)
    ) -> tuple[bool, int]:
        try:
            if not execution.redelivered:
                await gate.pass_through()
        except asyncio.CancelledError:
            raise ConnectionError("closed under me") from None
        return execution.redelivered, execution.attempt

    execution = await docket.add(complains)()
    async with Worker(docket) as worker, at_work(worker):
        await soon(gate.reached.wait())
    async with Worker(docket) as other, at_work(other):
        assert await result_of(execution) == (True, 1)


async def test_a_task_that_had_no_first_step_yet_is_requeued_too(docket: Docket) -> None:
    begun: list[int] = []

    async def begins(n: int) -> None:
        begun.append(n)
        if n == 0:
            worker.drain(0)
            # The deadline is a timer of this loop: it comes before those that were just claimed
            # have had their first step, or after it. Both are right.
            await asyncio.sleep(3600)

    executions = await asyncio.gather(*[docket.add(begins)(n) for n in range(5)])
    async with Worker(docket) as worker:
        await soon(worker.run_forever())
        for execution in executions:
            await execution.sync()
        states = {execution.state for execution in executions}

    assert states <= {ExecutionState.QUEUED, ExecutionState.COMPLETED}
    assert executions[0].state is ExecutionState.QUEUED


async def test_a_worker_ends_although_its_tasks_left_all_threads_taken(docket: Docket) -> None:
    release = threading.Event()
    left: list[asyncio.Future[bool]] = []

    async def takes_a_thread() -> None:
        loop = asyncio.get_running_loop()
        left.append(loop.run_in_executor(None, release.wait, PATIENCE.total_seconds()))

    try:
        async with Worker(docket, concurrency=50) as worker, background(worker) as running:
            # More than the executor has threads: whoever else wants one waits for these.
            await asyncio.gather(*[docket.add(takes_a_thread)() for _ in range(50)])
            await until(lambda: len(left) == 50 and not worker.running_tasks())
            worker.drain(0)
            await soon(running)
    finally:
        release.set()
        await asyncio.gather(*left)


async def test_a_docket_that_is_closed_under_its_worker_is_that_workers_error(
    server: str, docket_name: str
) -> None:
    runs = TwoRuns()
    async with Docket(docket_name, server) as docket:
        worker = Worker(docket)
        running = asyncio.create_task(worker.run_forever())
        await docket.add(runs.run)()
        await soon(runs.gate.reached.wait())

    with pytest.raises(ConnectionClosed, match="let workers and calls end before their docket"):
        await soon(running)
    await soon(runs.interrupted.wait())
    assert worker.running_tasks() == []


async def test_a_worker_whose_tasks_cannot_be_recorded_any_more_is_told_by_the_failure(
    docket: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = TwoRuns()

    async def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("a bug of ours")

    async with Worker(docket) as worker, background(worker) as running:
        execution = await docket.add(runs.run)()
        await soon(runs.gate.reached.wait())
        with monkeypatch.context() as patch:
            patch.setattr(docket.transitions, "exchange", broken)
            look(worker)
            with pytest.raises(ZeroDivisionError):
                await soon(running)
        # What ran here goes on elsewhere, so it was stopped here.
        await soon(runs.interrupted.wait())
        async with Worker(docket) as other, at_work(other):
            assert await result_of(execution) == (True, 1)


async def test_a_worker_waits_for_a_server_that_is_away_and_a_drain_ends_that(
    unused_url: str, docket_name: str
) -> None:
    told = Told()
    async with Docket(docket_name, unused_url) as docket:
        worker = Worker(docket)
        running = asyncio.create_task(worker.run_supervised(told))
        await soon(told.is_waiting.wait())
        assert "Error 2 connecting to" in told.reasons[0]

        worker.drain()
        await soon(running)

    assert not told.is_ready.is_set()


@pytest.fixture
def unused_url(tmp_path: object) -> str:
    return f"unix://{tmp_path}/nobody.sock"


async def test_a_poison_task_fails_with_an_error_that_says_so(docket: Docket) -> None:
    gate = Gate()
    async with Worker(docket) as worker, background(worker):
        execution = await docket.add(gate.pass_through, key="key")()
        await soon(gate.reached.wait())
        adoption = await worker.adopt(worker.consumer, max_deliveries=1)

        assert (adoption.moved, adoption.poisoned) == (0, ("key",))
        failure = await failure_of(execution)
        assert type(failure).__name__ == "PoisonTask"
        assert str(failure).startswith("1 worker processes died while they ran this task")


async def test_the_fault_of_a_service_is_raised_as_itself(
    docket: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise ZeroDivisionError("a bug of ours")

    # The steward is a group of tasks: what one of them raises comes out wrapped.
    monkeypatch.setattr(docket.transitions, "promote", broken)

    with pytest.raises(ZeroDivisionError):
        await soon(Worker(docket).run_forever())
