"""Tasks that work in threads of the event loop's executor: a run is over when its threads are."""

import asyncio
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from docket import CurrentExecution, Docket, Execution, ExecutionState, Retry, Timeout, Worker
from docket.services.task_threads import TaskExecutor, watch_default_executor
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


async def by_to_thread(gate: ThreadGate) -> Any:
    return await asyncio.to_thread(gate.pass_through, "first")


async def by_executor(gate: ThreadGate) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, gate.pass_through, "first")


async def by_child(gate: ThreadGate) -> Any:
    async with asyncio.TaskGroup() as group:
        return await group.create_task(by_to_thread(gate))


WAYS = {"to_thread": by_to_thread, "run_in_executor": by_executor, "a child": by_child}


async def nothing() -> None: ...


@pytest.mark.parametrize("way", WAYS)
async def test_a_task_is_handed_back_when_its_thread_has_ended(
    docket: Docket, gate: ThreadGate, way: str
) -> None:
    at_the_second: list[int] = []

    async def task(execution: Execution = CurrentExecution()) -> str:
        if execution.redelivered:
            at_the_second.append(gate.inside)
            return "second"
        return await WAYS[way](gate)

    async with (
        Worker(docket) as first,
        Worker(docket) as second,
        in_background(first.run_forever()) as running,
    ):
        execution = await docket.add(task)()
        await until(lambda: gate.inside == 1)
        async with at_work(second):
            first.drain(0)
            await result_of(await docket.add(nothing)())
            await execution.sync()
            assert (execution.state, execution.worker) == (ExecutionState.RUNNING, first.name)
            assert not running.done()
            gate.opened.set()
            assert await result_of(execution) == "second"
        await soon(running)

    assert at_the_second == [0]


async def test_a_worker_that_is_interrupted_waits_for_threads_before_it_ends(
    docket: Docket, gate: ThreadGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docket.services.shutdown.GOODBYE_SECONDS", 0.01)

    async def task(execution: Execution = CurrentExecution()) -> str:
        return "second" if execution.redelivered else await by_to_thread(gate)

    async with Worker(docket) as worker:
        running = asyncio.create_task(worker.run_forever())
        execution = await docket.add(task)()
        await until(lambda: gate.inside == 1)
        for _ in range(2):
            running.cancel()
            await asyncio.wait([running], timeout=0.1)
        assert not running.done()
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await soon(running)
    await finish(docket)

    assert await result_of(execution) == "second"


async def test_a_third_cancellation_waits_for_no_thread_and_gives_its_task_to_nobody(
    docket: Docket, gate: ThreadGate
) -> None:
    async with Worker(docket) as worker:
        running = asyncio.create_task(worker.run_forever())
        execution = await docket.add(by_gate(gate), key="it")()
        await until(lambda: gate.inside == 1)
        for _ in range(3):
            running.cancel()
            await asyncio.wait([running], timeout=0.05)
        with pytest.raises(asyncio.CancelledError):
            await soon(running)
    await execution.sync()

    assert execution.state is ExecutionState.RUNNING


def by_gate(gate: ThreadGate) -> Any:
    async def task() -> Any:
        return await by_to_thread(gate)

    return task


async def test_a_cancelled_task_keeps_its_slot_until_its_thread_has_ended(
    docket: Docket, gate: ThreadGate
) -> None:
    async with Worker(docket, concurrency=1) as worker, at_work(worker):
        execution = await docket.add(by_gate(gate))()
        late = await docket.add(gate.pass_through)()
        await until(lambda: gate.inside == 1)
        cancelled = asyncio.Event()
        watching = asyncio.create_task(_ended(worker, cancelled))
        await docket.cancel(execution.key)
        await soon(cancelled.wait())
        await watching
        await execution.sync()
        assert execution.state is ExecutionState.RUNNING
        assert gate.arrivals == ["first"]
        gate.opened.set()
        await result_of(late)

    await execution.sync()
    assert execution.state is ExecutionState.CANCELLED
    assert gate.most == 1


async def _ended(worker: Worker, ended: asyncio.Event) -> None:
    """Set when the only run's asyncio task has got its cancellation."""
    [running] = worker.running_tasks()
    assert running.runs_in is not None
    task = running.runs_in
    await until(lambda: task.cancelling() > 0)
    ended.set()


async def test_a_task_that_is_timed_out_is_retried_when_its_thread_has_ended(
    docket: Docket, gate: ThreadGate
) -> None:
    ended = asyncio.Event()

    async def slow(
        timeout: Timeout = Timeout(timedelta(milliseconds=20)), retry: Retry = Retry(attempts=2)
    ) -> None:
        try:
            await asyncio.to_thread(gate.pass_through, retry.attempt)
        finally:
            ended.set()

    async with Worker(docket, concurrency=3) as worker, at_work(worker):
        execution = await docket.add(slow)()
        await soon(ended.wait())
        await result_of(await docket.add(nothing)())
        assert gate.arrivals == [1]
        gate.opened.set()
        await result_of(execution)

    assert gate.arrivals == [1, 2]
    assert gate.most == 1


async def test_a_task_that_fails_beside_its_thread_has_failed_when_that_has_ended(
    docket: Docket, gate: ThreadGate
) -> None:
    async def fails() -> None:
        work = asyncio.ensure_future(by_to_thread(gate))
        await until(lambda: gate.inside == 1)
        work.cancel()
        raise ValueError("beside")

    async with Worker(docket) as worker, at_work(worker):
        execution = await docket.add(fails)()
        await until(lambda: gate.inside == 1)
        await result_of(await docket.add(nothing)())
        await execution.sync()
        assert execution.state is ExecutionState.RUNNING
        gate.opened.set()
        assert str(await failure_of(execution)) == "beside"


async def test_what_a_task_that_returned_leaves_behind_does_not_hold_it(
    docket: Docket, gate: ThreadGate
) -> None:
    left: list[Any] = []

    async def leaves() -> str:
        loop = asyncio.get_running_loop()
        left.append(loop.run_in_executor(None, gate.pass_through))
        return "returned"

    execution = await docket.add(leaves)()
    await finish(docket)

    assert await result_of(execution) == "returned"
    assert gate.inside == 1
    gate.opened.set()
    await soon(left[0])


async def test_a_call_that_never_began_holds_nothing(docket: Docket, gate: ThreadGate) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))

    async with Worker(docket) as worker, at_work(worker):
        first = loop.run_in_executor(None, gate.pass_through)
        execution = await docket.add(by_gate(gate))()
        await until(lambda: bool(worker.running_tasks()))
        await docket.cancel(execution.key)
        await until(lambda: not worker.running_tasks())
        await execution.sync()
        gate.opened.set()
        await first

    assert execution.state is ExecutionState.CANCELLED
    assert gate.arrivals == [None]


async def test_the_executor_of_an_application_goes_on_working() -> None:
    loop = asyncio.get_running_loop()
    own = ThreadPoolExecutor(1, thread_name_prefix="application")
    loop.set_default_executor(own)

    watch_default_executor(loop, is_ours=False)
    watch_default_executor(loop, is_ours=False)
    name = await asyncio.to_thread(lambda: threading.current_thread().name)
    await loop.shutdown_default_executor()

    assert name.startswith("application")
    with pytest.raises(RuntimeError):
        own.submit(partial(int))


class Opaque:
    """A loop that does not show its executor."""

    def __init__(self) -> None:
        self.executor: Any = None

    def set_default_executor(self, executor: Any) -> None:
        self.executor = executor


@pytest.mark.parametrize("is_ours", [True, False])
def test_an_executor_that_cannot_be_seen_is_replaced_only_on_a_loop_of_ours(is_ours: bool) -> None:
    loop: Any = Opaque()

    watch_default_executor(loop, is_ours=is_ours)

    assert isinstance(loop.executor, TaskExecutor) is is_ours
