"""What a task sees of where it runs, and of its own dependencies."""

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest

from docket import (
    Cron,
    CurrentExecution,
    Depends,
    Docket,
    Execution,
    ExecutionState,
    ExponentialRetry,
    Perpetual,
    Retry,
    Worker,
)
from docket.dependencies import (
    CompletionHandler,
    Dependency,
    ForcedRetry,
    current_docket,
    current_execution,
    current_worker,
)
from tests.support.dockets import failure_of, finish, result_of, soon

pytestmark = pytest.mark.anyio

MILLISECOND = timedelta(milliseconds=1)


def seen() -> tuple[Any, ...]:
    """What code that a task calls can find out."""
    execution = current_execution.get()
    return (
        *(current_docket.get(), current_worker.get()),
        *(execution.key, execution.function_name, execution.args, execution.kwargs),
        *(execution.attempt, execution.state),
    )


@pytest.mark.statement(39)
@pytest.mark.parametrize("level", [logging.INFO, logging.ERROR])
async def test_the_context_variables_are_set_for_every_task(
    docket: Docket, caplog: pytest.LogCaptureFixture, level: int
) -> None:
    found: list[Any] = []

    async def plain(a: int, b: int = 0) -> None:
        found.append(seen())
        found.append(isinstance(current_execution.get(), Execution))

    async def with_dependencies(e: Execution = CurrentExecution(), s: Any = Depends(seen)) -> None:
        found.append(e is current_execution.get())
        found.append(s)

    async def fallback(*args: Any, **kwargs: Any) -> None:
        found.append(seen())

    async def unknown() -> None: ...

    await docket.add(plain, key="p")(1, b=2)
    await docket.add(with_dependencies, key="d")()
    await docket.add(unknown, key="u")(3)
    del docket.tasks["unknown"], docket.plans["unknown"]
    with caplog.at_level(level, "docket.worker"):
        worker = await finish(docket, concurrency=1, fallback_task=fallback)

    here, running = (docket, worker), ExecutionState.RUNNING
    assert found == [
        *((*here, "p", "plain", (1,), {"b": 2}, 1, running), True),
        *(True, (*here, "d", "with_dependencies", (), {}, 1, running)),
        (*here, "u", "unknown", (3,), {}, 1, running),
    ]


@pytest.mark.statement(39)
async def test_tasks_at_the_same_time_see_their_own_execution(docket: Docket) -> None:
    async def plain(number: int) -> tuple[int, Any]:
        await asyncio.sleep(0)
        return number, await asyncio.create_task(ask())

    async def ask() -> Any:
        return current_execution.get().args

    executions = [await docket.add(plain)(number) for number in range(5)]
    await finish(docket)
    assert [await result_of(e) for e in executions] == [(n, (n,)) for n in range(5)]


@pytest.mark.statement(39)
async def test_the_docket_and_the_worker_are_known_in_the_body_of_the_worker(
    docket: Docket,
) -> None:
    assert (Dependency.docket, Dependency.worker) == (current_docket, current_worker)
    assert Dependency.execution is current_execution
    async with Worker(docket) as worker:
        assert (current_docket.get(), current_worker.get()) == (docket, worker)
        assert current_execution.get(None) is None
    assert current_docket.get(None) is current_worker.get(None) is None


@pytest.mark.statement(39)
async def test_a_worker_may_be_left_in_another_context(docket: Docket) -> None:
    worker = Worker(docket)
    await asyncio.create_task(worker.__aenter__())
    await asyncio.create_task(worker.__aexit__(None, None, None))


@pytest.mark.statement(39)
async def test_handlers_see_them_too(docket: Docket) -> None:
    found: list[str] = []

    class Handler(CompletionHandler[Any]):
        async def __aenter__(self) -> Any: ...
        async def on_complete(self, execution: Any, outcome: Any) -> bool:
            found.append(self.execution.get().key)
            return False

    async def task(h: Any = Handler()) -> None: ...

    await docket.add(task, key="k")()
    await finish(docket)
    assert found == ["k"]


@pytest.mark.statement(40)
async def test_the_delay_is_that_before_the_next_attempt(docket: Docket) -> None:
    delays: list[float] = []

    async def task(
        retry: ExponentialRetry = ExponentialRetry(
            attempts=5, minimum_delay=2 * MILLISECOND, maximum_delay=10 * MILLISECOND
        ),
    ) -> None:
        delays.append(retry.delay / MILLISECOND)
        raise ValueError

    await docket.add(task)()
    await finish(docket)
    assert delays == [2, 4, 8, 10, 10]


@pytest.mark.statement(40)
@pytest.mark.parametrize(
    "declared",
    [
        Retry(attempts=3, delay=timedelta(hours=1)),
        ExponentialRetry(3, minimum_delay=timedelta(hours=1), maximum_delay=timedelta(hours=2)),
    ],
)
@pytest.mark.parametrize("error", [ValueError(), ForcedRetry()])
async def test_a_delay_that_the_task_sets_holds_for_this_failure(
    docket: Docket, declared: Any, error: Exception
) -> None:
    attempts: list[tuple[int, timedelta]] = []

    async def task(retry: Any = declared) -> None:
        attempts.append((retry.attempt, retry.delay))
        retry.delay = MILLISECOND
        raise error

    execution = await docket.add(task)()
    await finish(docket)

    assert [attempt for attempt, _ in attempts] == [1, 2, 3]
    assert all(delay >= timedelta(hours=1) for _, delay in attempts)
    assert type(await failure_of(execution)) is type(error)


@pytest.mark.statement(40)
@pytest.mark.parametrize("force", ["after", "in_", "bare"])
async def test_a_forced_retry_on_the_last_attempt_is_the_failure(
    docket: Docket, force: str
) -> None:
    attempts: list[int] = []

    async def task(retry: Retry = Retry(attempts=2, delay=MILLISECOND)) -> None:
        attempts.append(retry.attempt)
        if force == "bare":
            raise ForcedRetry
        getattr(retry, force)(MILLISECOND)

    execution = await docket.add(task)()
    await finish(docket)

    error = await failure_of(execution)
    assert (type(error), str(error)) == (ForcedRetry, "")
    assert attempts == [1, 2]


@pytest.mark.statement(40)
async def test_a_perpetual_task_sees_its_arguments_until_it_changes_them(docket: Docket) -> None:
    found: list[Any] = []

    async def task(a: int, *, b: str = "", perpetual: Perpetual = Perpetual()) -> None:
        found.append((perpetual.args, dict(perpetual.kwargs or {})))
        match a:
            case 1:
                perpetual.perpetuate(2, b="two")
                assert (perpetual.args, perpetual.kwargs) == ((2,), {"b": "two"})
            case 2:
                perpetual.args = (3,)
            case 3 if b == "two":
                assert perpetual.kwargs is not None
                perpetual.kwargs["b"] = "three"
            case _:
                pass

    await docket.add(task, key="k")(1, b="one")
    async with Worker(docket) as worker:
        await soon(worker.run_at_most({"k": 5}))

    assert found == [
        ((1,), {"b": "one"}),
        ((2,), {"b": "two"}),
        ((3,), {"b": "two"}),
        ((3,), {"b": "three"}),
        ((3,), {"b": "three"}),
    ]


@pytest.mark.statement(40)
async def test_a_cron_task_sees_its_arguments(docket: Docket) -> None:
    async def task(a: int = 0, cron: Cron = Cron("* * * * *", automatic=False)) -> Any:
        cron.cancel()
        return cron.args, cron.kwargs

    execution = await docket.add(task)(1)
    await finish(docket)
    assert await result_of(execution) == ((1,), {})
