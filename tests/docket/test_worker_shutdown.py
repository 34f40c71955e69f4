"""The end of a run that is cancelled, interrupted, or whose worker's context is left."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from docket import (
    CurrentExecution,
    Docket,
    Execution,
    ExecutionState,
    Perpetual,
    Retry,
    Shared,
    Worker,
)
from docket.dependencies import CompletionHandler, FailureHandler, TaskOutcome
from tests.support.dockets import PATIENCE, Gate, at_work, found, in_background, result_of, soon
from tests.support.proxy import proxy_to
from tests.support.store import until

pytestmark = pytest.mark.anyio

Run = Callable[[Worker], Awaitable[None]]

RUNS: dict[str, Run] = {
    "run_forever": lambda worker: worker.run_forever(),
    "run_until_finished": lambda worker: worker.run_until_finished(),
    "run_at_most": lambda worker: worker.run_at_most({"another": 1}),
}


async def nothing() -> None: ...


async def by_task(run: Run, worker: Worker, reached: asyncio.Event) -> None:
    async with in_background(run(worker)) as running:
        await reached.wait()
        running.cancel()
        assert await running is None


async def by_timeout(run: Run, worker: Worker, reached: asyncio.Event) -> None:
    async with asyncio.timeout(None) as timeout:
        asyncio.get_running_loop().create_task(_expire(timeout, reached))
        await run(worker)
    assert timeout.expired()


async def _expire(timeout: asyncio.Timeout, reached: asyncio.Event) -> None:
    await reached.wait()
    timeout.reschedule(asyncio.get_running_loop().time())


async def by_wait_for(run: Run, worker: Worker, reached: asyncio.Event) -> None:
    await reached.wait()
    await asyncio.wait_for(run(worker), 0.2)


async def by_task_group(run: Run, worker: Worker, reached: asyncio.Event) -> None:
    with pytest.RaisesGroup(ZeroDivisionError):
        async with asyncio.TaskGroup() as group:
            running = group.create_task(_to_its_return(run, worker))
            await reached.wait()
            raise ZeroDivisionError
    assert running.result() == "returned"


async def _to_its_return(run: Run, worker: Worker) -> str:
    await run(worker)
    return "returned"


CANCELLATIONS = [by_task, by_timeout, by_task_group]


@pytest.mark.statement(1)
@pytest.mark.parametrize("cancel", CANCELLATIONS)
@pytest.mark.parametrize("name", RUNS)
async def test_a_run_that_is_cancelled_finishes_what_runs_and_returns(
    docket: Docket, caplog: pytest.LogCaptureFixture, name: str, cancel: Any
) -> None:
    caplog.set_level(logging.INFO, "docket.worker")
    gate, reached = Gate(), asyncio.Event()
    executions = [await docket.add(gate.pass_through)(n) for n in range(2)]
    late = await docket.add(nothing, key="late")()

    async with (
        Worker(docket, concurrency=2) as worker,
        in_background(cancel(RUNS[name], worker, reached)) as ending,
    ):
        await until(lambda: len(gate.arrivals) == 2)
        reached.set()
        await until(
            lambda: "Shutdown requested, finishing 2 active tasks..." in caplog.messages, "drains"
        )
        gate.opened.set()
        await soon(ending)

        for execution in executions:
            await execution.sync()
            assert execution.state is ExecutionState.COMPLETED
        await late.sync()
        assert late.state is ExecutionState.QUEUED

        await soon(worker.run_until_finished())
        await late.sync()
        assert late.state is ExecutionState.COMPLETED


@pytest.mark.statement(1)
@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("has_future_task", [True, False])
async def test_a_run_with_nothing_to_finish_returns_at_once_and_without_a_word(
    docket: Docket, caplog: pytest.LogCaptureFixture, name: str, has_future_task: bool
) -> None:
    caplog.set_level(logging.INFO, "docket.worker")
    later = await docket.add(nothing, when=datetime.now(UTC) + timedelta(hours=1))()
    if not has_future_task:
        await docket.cancel(later.key)
    async with Worker(docket) as worker, in_background(RUNS[name](worker)) as running:
        await result_of(await docket.add(nothing)())
        running.cancel()

        assert await soon(running) is None
    await later.sync()
    expected = ExecutionState.SCHEDULED if has_future_task else ExecutionState.CANCELLED
    assert later.state is expected
    assert not [m for m in caplog.messages if "Shutdown" in m]


@pytest.mark.statement(1)
async def test_a_wait_for_that_expires_on_an_idle_run_raises_nothing(docket: Docket) -> None:
    reached = asyncio.Event()
    reached.set()
    async with Worker(docket) as worker:
        await by_wait_for(RUNS["run_forever"], worker, reached)


@pytest.mark.statement(1)
async def test_a_run_that_is_cancelled_before_it_has_a_server_returns_at_once(
    docket_name: str, tmp_path: object
) -> None:
    async with (
        Docket(docket_name, f"unix://{tmp_path}/nobody.sock") as docket,
        in_background(Worker(docket).run_forever()) as running,
    ):
        await asyncio.sleep(0)
        running.cancel()
        assert await asyncio.wait_for(running, PATIENCE.total_seconds() / 2) is None


@pytest.mark.statement(1)
async def test_the_end_of_what_runs_while_it_drains_is_recorded_as_always(docket: Docket) -> None:
    gates = {name: Gate() for name in ("fails", "retries", "goes on")}

    async def fails() -> None:
        await gates["fails"].pass_through()
        raise ValueError("broken")

    async def retries(retry: Retry = Retry(attempts=2)) -> None:
        await gates["retries"].pass_through()
        raise ValueError("again")

    async def goes_on(perpetual: Perpetual = Perpetual()) -> None:
        await gates["goes on"].pass_through()

    failing = await docket.add(fails, key="fails")()
    await docket.add(retries, key="retries")()
    await docket.add(goes_on, key="goes on")()
    async with Worker(docket) as worker, in_background(worker.run_forever()) as running:
        for gate in gates.values():
            await soon(gate.reached.wait())
        running.cancel()
        for gate in gates.values():
            gate.opened.set()
        await soon(running)

    await failing.sync()
    assert (failing.state, failing.error) == (ExecutionState.FAILED, "ValueError: broken")
    retried, successor = await found(docket, "retries"), await found(docket, "goes on")
    assert (retried.state, retried.attempt) == (ExecutionState.QUEUED, 2)
    assert (successor.state, successor.generation) == (ExecutionState.QUEUED, 2)


@pytest.mark.statement(1)
async def test_the_task_that_awaited_it_is_not_cancelled_any_more(docket: Docket) -> None:
    async def goes_on_afterwards() -> int:
        await worker.run_forever()
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(3600)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    async with Worker(docket) as worker, in_background(goes_on_afterwards()) as running:
        await result_of(await docket.add(nothing)())
        running.cancel()
        assert await soon(running) == 0


class Asked(FailureHandler[Any], CompletionHandler[Any]):
    """Notes that it was asked."""

    times: ClassVar[list[object]] = []

    async def __aenter__(self) -> "Asked":
        return self

    async def handle_failure(self, execution: Execution, outcome: TaskOutcome) -> bool:
        self.times.append(outcome)
        return False

    async def on_complete(self, execution: Execution, outcome: TaskOutcome) -> bool:
        self.times.append(outcome)
        return False


class Interrupted:
    """Tasks that wait in their first run for ever, and return in the next one."""

    def __init__(self) -> None:
        self.gates = {name: Gate() for name in ("bare", "asked", "retried", "angry", "own")}

    async def _stay(self, name: str, execution: Execution) -> bool:
        if not execution.redelivered:
            await self.gates[name].pass_through()
        return execution.redelivered

    async def add_all(self, docket: Docket) -> list[Execution]:
        async def bare(execution: Execution = CurrentExecution()) -> bool:
            return await self._stay("bare", execution)

        async def asked(
            execution: Execution = CurrentExecution(), handler: Asked = Asked()
        ) -> bool:
            return await self._stay("asked", execution)

        async def retried(
            execution: Execution = CurrentExecution(), retry: Retry = Retry(attempts=5)
        ) -> bool:
            return await self._stay("retried", execution)

        async def angry(
            execution: Execution = CurrentExecution(), handler: Asked = Asked()
        ) -> bool:
            try:
                return await self._stay("angry", execution)
            except asyncio.CancelledError:
                raise ConnectionError("closed under me") from None

        async def own(execution: Execution = CurrentExecution(), handler: Asked = Asked()) -> bool:
            inner = asyncio.ensure_future(self._stay("own", execution))
            return await inner

        tasks = (bare, asked, retried, angry, own)
        return [await docket.add(task, key=task.__name__)() for task in tasks]

    async def reached(self) -> None:
        for gate in self.gates.values():
            await soon(gate.reached.wait())


@asynccontextmanager
async def draining(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> AsyncGenerator[tuple[asyncio.Future[None], list[Execution]]]:
    """A run that drains and cannot end, and the executions that it waits for."""
    caplog.set_level(logging.INFO, "docket.worker")
    Asked.times.clear()
    interrupted = Interrupted()
    executions = await interrupted.add_all(docket)
    async with Worker(docket) as worker, in_background(worker.run_forever()) as running:
        await interrupted.reached()
        running.cancel()
        await until(lambda: "Shutdown requested, finishing 5 active tasks..." in caplog.messages)
        yield running, executions


async def run_again(docket: Docket, executions: list[Execution]) -> None:
    for execution in executions:
        await execution.sync()
        assert execution.state is ExecutionState.QUEUED
        assert (execution.error, execution.attempt) == (None, 1)
    assert Asked.times == []
    async with Worker(docket) as other, at_work(other):
        assert [await result_of(execution) for execution in executions] == [True] * len(executions)


@pytest.mark.statement(2)
async def test_a_second_cancellation_interrupts_what_runs(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    async with draining(docket, caplog) as (running, executions):
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(running)
        await run_again(docket, executions)


@pytest.mark.statement(2)
async def test_a_coroutine_that_somebody_cancels_while_it_drains_was_interrupted(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    async with draining(docket, caplog) as (running, executions):
        for task in asyncio.all_tasks():
            if "Executor._run" in repr(task.get_coro()):
                task.cancel()
        assert await soon(running) is None
        await run_again(docket, executions)


@pytest.mark.statement(2)
@pytest.mark.parametrize("drains_before", [True, False])
async def test_what_ran_when_everything_is_cancelled_at_once_was_interrupted(
    docket: Docket, drains_before: bool
) -> None:
    Asked.times.clear()
    interrupted = Interrupted()
    executions = await interrupted.add_all(docket)
    before = asyncio.all_tasks()
    async with Worker(docket) as worker, in_background(worker.run_forever()) as running:
        await interrupted.reached()
        if drains_before:
            running.cancel()
            await asyncio.sleep(0)
        # As asyncio.run does at its end, but for the connections of the docket.
        ours = [
            task
            for task in asyncio.all_tasks() - before
            if not (task.get_name() or "").startswith(("docket pipeline", "docket subscriber"))
        ]
        for task in sorted(ours, key=lambda task: "Executor._run" not in repr(task.get_coro())):
            task.cancel()
        await soon(asyncio.wait([running]))
        await run_again(docket, executions)


@pytest.mark.statement(2)
def test_asyncio_run_that_ends_with_a_worker_in_the_background_interrupts_its_tasks(
    server: str, docket_name: str
) -> None:
    gate: list[Gate] = []

    async def stays(execution: Execution = CurrentExecution()) -> bool:
        if not execution.redelivered:
            await gate[0].pass_through()
        return execution.redelivered

    async def first() -> None:
        gate.append(Gate())
        docket = await Docket(docket_name, server).__aenter__()
        await docket.add(stays, key="k")()
        worker = Worker(docket, redelivery_timeout=timedelta(seconds=1))
        held.append(asyncio.create_task(worker.run_forever()))
        await soon(gate[0].reached.wait())

    async def second() -> bool:
        async with Docket(docket_name, server) as docket:
            docket.register(stays)
            execution = await found(docket, "k")
            assert execution.state in {ExecutionState.QUEUED, ExecutionState.RUNNING}
            worker = Worker(docket, redelivery_timeout=timedelta(seconds=1))
            async with at_work(worker):
                return await result_of(execution)

    held: list[asyncio.Task[None]] = []
    asyncio.run(first())
    assert asyncio.run(second())


@pytest.mark.statement(2)
async def test_a_task_that_is_cancelled_on_the_docket_while_it_drains_is_cancelled(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    async with draining(docket, caplog) as (running, executions):
        for execution in executions:
            await docket.cancel(execution.key)
        assert await soon(running) is None
        for execution in executions:
            await execution.sync()
            assert (execution.state, execution.error) == (ExecutionState.CANCELLED, None)


@pytest.mark.statement(3)
@pytest.mark.parametrize("name", RUNS)
async def test_leaving_the_context_of_a_worker_drains_its_run_and_waits_for_it(
    docket: Docket, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.INFO, "docket.worker")
    gate = Gate()
    closed: list[bool] = []

    @asynccontextmanager
    async def resource() -> AsyncGenerator[str]:
        yield "shared"
        closed.append(running.done())

    async def uses(shared: str = Shared(resource)) -> str:
        await gate.pass_through()
        return shared

    async def leave() -> None:
        nonlocal running
        async with Worker(docket) as worker:
            running = asyncio.ensure_future(RUNS[name](worker))
            await soon(gate.reached.wait())
        assert running.done()

    running: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    execution = await docket.add(uses)()
    async with in_background(leave()) as leaving:
        await until(
            lambda: "Shutdown requested, finishing 1 active tasks..." in caplog.messages, "drains"
        )
        assert not leaving.done()
        gate.opened.set()
        await soon(leaving)

    assert running.result() is None
    assert closed == [True]
    await execution.sync()
    assert execution.state is ExecutionState.COMPLETED


@pytest.mark.statement(3)
async def test_leaving_the_context_of_a_worker_ends_an_idle_run_and_waits_for_nothing(
    docket: Docket,
) -> None:
    later = await docket.add(nothing, when=datetime.now(UTC) + timedelta(hours=1))()
    async with Worker(docket) as worker:
        running = asyncio.create_task(worker.run_forever())
        await result_of(await docket.add(nothing)())
    assert running.done()
    assert running.result() is None
    await later.sync()
    assert later.state is ExecutionState.SCHEDULED


@pytest.mark.statement(3)
async def test_a_run_that_drains_because_its_context_was_left_may_be_interrupted(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "docket.worker")
    gate = Gate()
    running: asyncio.Task[None] | None = None

    async def leave() -> None:
        nonlocal running
        async with Worker(docket) as worker:
            running = asyncio.create_task(worker.run_forever())
            await soon(gate.reached.wait())

    execution = await docket.add(gate.pass_through)()
    async with in_background(leave()) as leaving:
        await until(lambda: any("Shutdown requested" in m for m in caplog.messages))
        assert running is not None
        running.cancel()
        await soon(leaving)
    assert running.cancelled()
    await execution.sync()
    assert execution.state is ExecutionState.QUEUED


@pytest.mark.statement(2)
async def test_a_third_cancellation_does_not_wait_for_a_server_that_is_away(
    server: str, docket_name: str
) -> None:
    gate = Gate()
    async with (
        Docket(docket_name, server) as other,
        proxy_to(server) as proxy,
        Docket(docket_name, proxy.url) as docket,
    ):
        execution = await docket.add(gate.pass_through)()
        async with in_background(Worker(docket).run_forever()) as running:
            await soon(gate.reached.wait())
            await proxy.refuse()
            for _ in range(3):
                running.cancel()
                await asyncio.sleep(0.01)
            with pytest.raises(asyncio.CancelledError):
                await soon(running)
        found_there = await found(other, execution.key)
        assert found_there.state is ExecutionState.RUNNING
