"""Tasks that raise what they should not, are not what they should be, or are unknown."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated, Any, ClassVar, cast

import pytest

from docket import (
    Depends,
    Docket,
    Execution,
    ExecutionCancelled,
    ExecutionState,
    Logged,
    Perpetual,
    Retry,
    Timeout,
    Worker,
)
from docket.dependencies import CompletionHandler, FailureHandler, TaskOutcome
from docket.errors import TaskError
from docket.worker import default_fallback_task
from tests.support.dockets import Gate, at_work, failure_of, finish, found, result_of, soon

pytestmark = pytest.mark.anyio


class OwnBaseException(BaseException):
    pass


async def fine() -> str:
    return "fine"


@pytest.mark.parametrize("level", [logging.WARNING, logging.INFO])
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt("pressed"), "KeyboardInterrupt: pressed"),
        (GeneratorExit(), "GeneratorExit: "),
        (OwnBaseException("mine"), "OwnBaseException: mine"),
    ],
)
async def test_what_is_no_exception_fails_its_task_once_and_nothing_else(
    docket: Docket,
    caplog: pytest.LogCaptureFixture,
    level: int,
    error: BaseException,
    text: str,
) -> None:
    async def raises() -> None:
        raise error

    failing = await docket.add(raises, key="failing")()
    good = await docket.add(fine)()
    with caplog.at_level(level, "docket.worker"):
        worker = await finish(docket)

    failure = await failure_of(failing)
    assert isinstance(failure, TaskError)
    assert str(failure) == failing.error == text
    assert await result_of(good) == "fine"
    assert (worker.counters.started, worker.counters.failed) == (2, 1)
    [logged] = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "raises(){failing}" in logged.getMessage()


async def raises_it() -> None:
    raise asyncio.CancelledError("of itself")


async def cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel("enough")
    await asyncio.sleep(0)


async def awaits_a_cancelled_child() -> None:
    child = asyncio.ensure_future(asyncio.sleep(3600))
    child.cancel()
    await child


async def awaits_a_cancelled_future() -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


@asynccontextmanager
async def cancelled_on_entering() -> AsyncGenerator[None]:
    raise asyncio.CancelledError
    yield


@asynccontextmanager
async def cancelled_on_leaving() -> AsyncGenerator[None]:
    yield
    raise asyncio.CancelledError


class Watcher(CompletionHandler[Any]):
    """Notes of which ends it is told."""

    heard: ClassVar[list[object]] = []

    async def __aenter__(self) -> "Watcher":
        return self

    async def on_complete(self, execution: Execution, outcome: TaskOutcome) -> bool:
        self.heard.append(outcome)
        return False


ENDS_BY_CANCELLATION = [
    raises_it,
    cancels_itself,
    awaits_a_cancelled_child,
    awaits_a_cancelled_future,
]


@pytest.mark.statement(9)
@pytest.mark.parametrize("level", [logging.WARNING, logging.INFO])
@pytest.mark.parametrize("end", ENDS_BY_CANCELLATION)
async def test_a_cancelled_error_that_a_task_lets_out_by_itself_cancels_it(
    docket: Docket, caplog: pytest.LogCaptureFixture, level: int, end: Any
) -> None:
    execution = await docket.add(end)()
    good = await docket.add(fine)()
    with caplog.at_level(level, "docket.worker"):
        worker = await finish(docket)

    await execution.sync()
    assert (execution.state, execution.error) == (ExecutionState.CANCELLED, None)
    with pytest.raises(ExecutionCancelled):
        await result_of(execution)
    assert await result_of(good) == "fine"
    assert (worker.counters.started, worker.counters.cancelled, worker.counters.failed) == (2, 1, 0)
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


@pytest.mark.statement(9)
@pytest.mark.parametrize("end", ENDS_BY_CANCELLATION)
async def test_nothing_follows_a_cancelled_error_of_a_tasks_own(docket: Docket, end: Any) -> None:
    async def retried(retry: Retry = Retry(attempts=3)) -> None:
        await end()

    async def perpetual(perpetual: Perpetual = Perpetual()) -> None:
        await end()

    async def watched(watcher: Watcher = Watcher()) -> None:
        await end()

    async def timed(timeout: Timeout = Timeout(timedelta(seconds=20))) -> None:
        await end()

    Watcher.heard.clear()
    executions = [await docket.add(f)() for f in (retried, perpetual, watched, timed)]
    worker = await finish(docket)

    for execution in executions:
        await execution.sync()
        assert (execution.state, execution.error) == (ExecutionState.CANCELLED, None)
    assert (worker.counters.started, worker.counters.cancelled) == (4, 4)
    assert Watcher.heard == []


@pytest.mark.statement(9)
@pytest.mark.parametrize("resource", [cancelled_on_entering, cancelled_on_leaving])
async def test_a_cancelled_error_of_a_dependency_cancels_the_task_too(
    docket: Docket, resource: Any
) -> None:
    async def uses(held: None = Depends(resource), retry: Retry = Retry(attempts=3)) -> None: ...

    execution = await docket.add(uses)()
    worker = await finish(docket)

    await execution.sync()
    assert execution.state is ExecutionState.CANCELLED
    assert worker.counters.started == 1


@pytest.mark.parametrize("level", [logging.WARNING, logging.INFO])
async def test_a_function_that_breaks_its_word_to_return_an_awaitable_fails(
    docket: Docket, caplog: pytest.LogCaptureFixture, level: int
) -> None:
    def not_async() -> Awaitable[int]:
        return cast(Any, 5)

    execution = await docket.add(not_async)()
    with caplog.at_level(level, "docket.worker"):
        await finish(docket)

    failure = await failure_of(execution)
    assert isinstance(failure, TypeError)
    assert str(failure) == (
        "Task 'not_async' returned a int that cannot be awaited, although it was expected to "
        "return an awaitable: by its annotation, or by what it wraps"
    )


async def test_a_function_that_hands_on_a_coroutine_is_a_task(docket: Docket) -> None:
    def wrapper(n: int) -> Any:
        async def inner() -> int:
            return n + 1

        return inner()

    execution = await docket.add(wrapper)(1)
    await finish(docket)

    assert await result_of(execution) == 2


async def test_arguments_that_the_function_does_not_take_fail_the_task(docket: Docket) -> None:
    docket.register(fine)

    execution = await docket.add("fine")(1, two=2)
    await finish(docket)

    assert isinstance(await failure_of(execution), TypeError)


async def test_a_task_that_swallows_its_cancellation_completes(docket: Docket) -> None:
    gate = Gate()

    async def stubborn() -> str:
        try:
            await gate.pass_through()
        except asyncio.CancelledError:
            return "finished all the same"
        raise AssertionError("was not cancelled")

    async with Worker(docket) as worker, at_work(worker):
        execution = await docket.add(stubborn, key="key")()
        await soon(gate.reached.wait())
        await docket.cancel("key")

        assert await result_of(execution) == "finished all the same"


@pytest.mark.parametrize("level", [logging.WARNING, logging.INFO])
async def test_a_task_that_answers_its_cancellation_with_an_error_is_cancelled(
    docket: Docket, caplog: pytest.LogCaptureFixture, level: int
) -> None:
    gate = Gate()

    async def complains(retry: Retry = Retry(attempts=5)) -> None:
        try:
            await gate.pass_through()
        except asyncio.CancelledError:
            raise RuntimeError("interrupted") from None

    with caplog.at_level(level, "docket.worker"):
        async with Worker(docket) as worker, at_work(worker):
            execution = await docket.add(complains, key="key")()
            await soon(gate.reached.wait())
            await docket.cancel("key")
            waited = asyncio.create_task(execution.get_result())
            await soon(asyncio.wait([waited]))

    await execution.sync()
    assert execution.state is ExecutionState.CANCELLED
    assert worker.counters.retried == worker.counters.failed == 0
    assert type(waited.exception()).__name__ == "ExecutionCancelled"
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


async def test_a_failure_handler_that_fails_itself_fails_the_task_with_its_error(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Retry):
        def after_failure(self, execution: object, error: BaseException) -> None:
            raise LookupError("no idea what to do")

    async def fails(handler: FailureHandler[Any] = Broken()) -> None:
        raise ValueError

    execution = await docket.add(fails, key="key")()
    await finish(docket)

    assert isinstance(await failure_of(execution), LookupError)
    assert "fails(...){key}" in caplog.text


class Shy:
    def __repr__(self) -> str:
        raise ZeroDivisionError("do not look at me")


async def shown(who: Annotated[Any, Logged]) -> str:
    return "seen"


async def test_an_argument_that_cannot_be_shown_does_not_fail_its_task(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    execution = await docket.add(shown, key="key")(Shy())
    with caplog.at_level(logging.INFO, "docket.worker"):
        await finish(docket)

    assert await result_of(execution) == "seen"
    assert "shown(<cannot be shown: ZeroDivisionError>){key}" in caplog.text


@pytest.mark.statement(6)
@pytest.mark.parametrize("given", [None, default_fallback_task])
@pytest.mark.parametrize("arguments", [{}, {"logger": 1, "execution": 2, "args": 3}])
async def test_what_is_unknown_here_is_dropped_as_completed_by_default(
    docket: Docket,
    server: str,
    caplog: pytest.LogCaptureFixture,
    given: Any,
    arguments: dict[str, Any],
) -> None:
    unknown = await docket.add(shown)(1, **arguments)
    good = await docket.add(fine)()
    async with Docket(docket.name, server) as elsewhere:
        elsewhere.register(fine)
        worker = await finish(elsewhere, fallback_task=given)

    assert worker.fallback_task is default_fallback_task
    assert await result_of(unknown) is None
    assert (unknown.state, unknown.error) == (ExecutionState.COMPLETED, None)
    assert await result_of(good) == "fine"
    dropped = (
        "Unknown task 'shown' received - dropping. "
        "Register via CLI (--tasks your.module:tasks) or API (docket.register(func))."
    )
    assert ("docket.task.shown", logging.WARNING, dropped) in caplog.record_tuples


@pytest.mark.parametrize("level", [logging.WARNING, logging.INFO])
async def test_the_fallback_task_runs_what_is_unknown_here(
    docket: Docket, server: str, caplog: pytest.LogCaptureFixture, level: int
) -> None:
    async def fallback(*args: Any, retry: Retry = Retry(attempts=2), **kwargs: Any) -> Any:
        if retry.attempt == 1:
            raise ValueError
        return args, kwargs

    execution = await docket.add(shown, key="key")(1, two=2)
    async with Docket(docket.name, server) as elsewhere:
        with caplog.at_level(level, "docket.worker"):
            worker = await finish(elsewhere, fallback_task=fallback)

    assert await result_of(execution) == ((1,), {"two": 2})
    assert (worker.counters.retried, worker.counters.succeeded) == (1, 1)
    assert (await found(docket, "key")).function_name == "shown"
    errors = [r.getMessage()[0] for r in caplog.records if r.levelno >= logging.WARNING]
    assert errors == ["↩"]  # of the attempt that is retried
