"""Tasks that are plain functions, cancelled, timed out and drained: a thread cannot be stopped."""

import asyncio
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import anyio.from_thread
import pytest

from docket import (
    CurrentExecution,
    Depends,
    Docket,
    Execution,
    ExecutionState,
    Retry,
    Timeout,
    Worker,
)
from tests.support.dockets import (
    ThreadGate,
    at_work,
    failure_of,
    finish,
    in_background,
    result_of,
    soon,
)
from tests.support.store import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def gate() -> Generator[ThreadGate]:
    gate = ThreadGate()
    yield gate
    gate.opened.set()


def plain(n: int = 1) -> int:
    return n + 1


async def test_a_cancelled_one_is_recorded_when_its_thread_has_ended(
    docket: Docket, gate: ThreadGate, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    monkeypatch.setattr("docket.services.task_threads.PATIENCE_SECONDS", 0.01)
    closed: list[int] = []

    @contextmanager
    def connection() -> Generator[None]:
        try:
            yield
        finally:
            closed.append(gate.inside)

    def stuck_here(_: None = Depends(connection)) -> None:
        gate.pass_through()

    async with Worker(docket, concurrency=1) as worker, at_work(worker):
        execution = await docket.add(stuck_here)()
        late = await docket.add(plain)()
        await until(lambda: gate.inside == 1)
        await docket.cancel(execution.key)
        # Named, with the place where it is.
        await until(lambda: "a thread of it goes on" in caplog.text)
        assert "stuck_here" in caplog.text

        await execution.sync()
        assert execution.state is ExecutionState.RUNNING
        await late.sync()
        assert late.state is ExecutionState.QUEUED  # The slot is taken.
        assert closed == []
        gate.opened.set()
        await result_of(late)

    await execution.sync()
    assert execution.state is ExecutionState.CANCELLED
    assert closed == [0]


async def test_one_that_waits_for_nothing_but_asks_ends_at_once(docket: Docket) -> None:
    begun = threading.Event()
    reasons: list[BaseException] = []

    def asks() -> None:
        begun.set()
        try:
            while True:
                anyio.from_thread.check_cancelled()
                time.sleep(0.001)
        except BaseException as error:
            reasons.append(error)
            raise

    async with Worker(docket) as worker, at_work(worker):
        execution = await docket.add(asks)()
        await until(begun.is_set)
        await docket.cancel(execution.key)
        await until(lambda: bool(reasons))

    await execution.sync()
    assert execution.state is ExecutionState.CANCELLED
    assert isinstance(reasons[0], asyncio.CancelledError)


async def test_one_that_is_timed_out_fails_when_its_thread_has_ended_and_is_retried_then(
    docket: Docket, gate: ThreadGate
) -> None:
    timeouts: list[Timeout] = []

    def slow(
        timeout: Timeout = Timeout(timedelta(milliseconds=20)),
        retry: Retry = Retry(attempts=2),
    ) -> None:
        timeouts.append(timeout)
        gate.pass_through(retry.attempt)

    async with Worker(docket, concurrency=3) as worker, at_work(worker):
        execution = await docket.add(slow)()
        await until(lambda: bool(timeouts) and timeouts[0].expired())
        await result_of(await docket.add(plain)())
        assert gate.arrivals == [1]
        gate.opened.set()
        # The second attempt ends in time.
        assert await result_of(execution) is None

    assert gate.arrivals == [1, 2]
    assert gate.most == 1


async def test_its_timeout_is_extended_in_the_thread(docket: Docket) -> None:
    def task(timeout: Timeout = Timeout(timedelta(minutes=1))) -> list[float]:
        timeout.extend(timedelta(minutes=1))
        timeout.extend(timedelta(minutes=1))
        extended = timeout.remaining()
        timeout.start()
        return [round(each.total_seconds() / 60) for each in (extended, timeout.remaining())]

    execution = await docket.add(task)()
    await finish(docket)

    assert await result_of(execution) == [3, 1]


async def test_a_drain_waits_for_it(docket: Docket, gate: ThreadGate) -> None:
    async with (
        Worker(docket) as worker,
        in_background(worker.run_forever()) as running,
    ):
        execution = await docket.add(gate.pass_through)("done")
        await until(lambda: gate.inside == 1)
        worker.drain()
        gate.opened.set()
        await soon(running)

    assert await result_of(execution) == "done"


async def test_what_it_returns_after_the_deadline_of_a_drain_is_recorded(
    docket: Docket, gate: ThreadGate
) -> None:
    async with (
        Worker(docket) as worker,
        in_background(worker.run_forever()) as running,
    ):
        execution = await docket.add(gate.pass_through)("done")
        await until(lambda: gate.inside == 1)
        worker.drain(0)
        await execution.sync()
        assert execution.state is ExecutionState.RUNNING
        gate.opened.set()
        await soon(running)

    assert await result_of(execution) == "done"
    assert len(gate.arrivals) == 1


async def test_one_that_raises_after_the_deadline_of_a_drain_is_handed_back(
    docket: Docket, gate: ThreadGate
) -> None:
    runs: list[bool] = []

    def task(execution: Execution = CurrentExecution()) -> str:
        runs.append(execution.redelivered)
        gate.pass_through()
        if not execution.redelivered:
            raise RuntimeError("cut")
        return "done"

    async with (
        Worker(docket) as worker,
        in_background(worker.run_forever()) as running,
    ):
        execution = await docket.add(task)()
        await until(lambda: gate.inside == 1)
        worker.drain(0)
        gate.opened.set()
        await soon(running)
    await finish(docket)

    assert await result_of(execution) == "done"
    assert runs == [False, True]


async def test_one_whose_asyncio_tasks_are_all_cancelled_is_over_when_its_thread_is(
    docket: Docket, gate: ThreadGate
) -> None:
    async with Worker(docket) as worker, at_work(worker):
        before = asyncio.all_tasks()
        execution = await docket.add(gate.pass_through)()
        await until(lambda: gate.inside == 1)
        [running] = worker.running_tasks()
        for task in asyncio.all_tasks() - before - {running.runs_in}:
            task.cancel()
        await execution.sync()
        assert execution.state is ExecutionState.RUNNING
        assert worker.running_tasks() == [running]
        gate.opened.set()
        await until(lambda: not worker.running_tasks())

    await execution.sync()
    assert execution.state is ExecutionState.CANCELLED


async def test_one_for_which_no_thread_can_be_started_fails(
    docket: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none_left(*args: object, **kwargs: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("anyio.to_thread.run_sync", none_left)
    execution = await docket.add(plain)()
    await finish(docket)

    assert str(await failure_of(execution)) == "can't start new thread"
