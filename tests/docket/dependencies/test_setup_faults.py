"""Dependencies that cannot work fail each run at once: no retry mends them."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import uncalled_for

from docket import (
    CallArgument,
    CycleError,
    Depends,
    Docket,
    ExponentialRetry,
    Perpetual,
    Retry,
    Shared,
    TaskArgument,
    Timeout,
    Worker,
)
from docket.dependencies import Dependency
from tests.support.dockets import failure_of, finish, result_of, soon

pytestmark = pytest.mark.anyio


def loop(x: object = None) -> None: ...


loop.__defaults__ = (Depends(loop),)


def one(x: object = None) -> None: ...
def two(x: object = Depends(one)) -> None: ...


one.__defaults__ = (Shared(two),)


async def of_functions(a: Any = Depends(loop), retry: Retry = Retry(attempts=3)) -> str:
    return f"called with {a}"


async def of_shared(a: Any = Shared(one), retry: Retry = Retry(attempts=3)) -> str:
    return f"called with {a}"


async def of_arguments(
    a: Any = CallArgument("b"), b: Any = CallArgument("a"), retry: Retry = Retry.forever()
) -> str:
    return f"called with {a}"


@pytest.mark.parametrize(
    ("task", "circle"),
    [
        (of_functions, "loop -> loop"),
        (of_shared, "one -> Shared(two) -> two -> one"),
        (of_arguments, "circle: a -> b -> a"),
    ],
)
async def test_a_circle_is_logged_when_the_worker_starts_and_fails_the_task_once(
    docket: Docket, caplog: pytest.LogCaptureFixture, task: Callable[..., Any], circle: str
) -> None:
    docket.register(task)
    with caplog.at_level(logging.ERROR, "docket.worker"):
        worker = await finish(docket)
    [record] = caplog.records
    assert task.__name__ in record.getMessage()
    assert circle in record.getMessage()
    assert worker.counters.failed == 0

    execution = await docket.add(task)()
    worker = await finish(docket)

    error = await failure_of(execution)
    assert type(error) is CycleError
    assert circle in str(error)
    assert (worker.counters.failed, worker.counters.retried) == (1, 0)


async def test_what_the_caller_passes_breaks_the_circle(docket: Docket) -> None:
    by_name = await docket.add(of_functions)(a="passed")
    by_position = await docket.add(of_arguments)("passed")
    await finish(docket)

    assert await result_of(by_name) == await result_of(by_position) == "called with passed"


async def test_a_circle_that_only_the_run_shows_is_not_retried_either(docket: Docket) -> None:
    class Asking(Dependency[Any]):
        """Asks for a parameter while it is entered."""

        def __init__(self, wanted: str) -> None:
            self.wanted = wanted

        async def __aenter__(self) -> Any:
            return await uncalled_for.current_frame().resolve(self.wanted)

    async def task(
        a: Any = Asking("b"), b: Any = Asking("a"), retry: Retry = Retry(attempts=3)
    ) -> None: ...

    execution = await docket.add(task)()
    worker = await finish(docket)

    error = await failure_of(execution)
    assert isinstance(error, ExceptionGroup)
    assert error.message == "Failed to resolve dependencies for parameter(s): a, b"
    assert all(isinstance(cause, CycleError) for cause in error.exceptions)
    assert "a -> b -> a" in str(error.exceptions[0])
    assert (worker.counters.failed, worker.counters.retried) == (1, 0)


@pytest.mark.parametrize("of_the_worker", [Retry(attempts=5), ExponentialRetry.forever()])
async def test_a_retry_of_the_worker_beside_that_of_the_task_fails_it_once(
    docket: Docket, caplog: pytest.LogCaptureFixture, of_the_worker: Retry
) -> None:
    async def task(retry: Retry = Retry.forever()) -> None:
        raise AssertionError

    execution = await docket.add(task)()
    with caplog.at_level(logging.ERROR, "docket.worker"):
        worker = await finish(docket, dependencies=[of_the_worker])

    assert isinstance(await failure_of(execution), ExceptionGroup)
    assert (worker.counters.failed, worker.counters.retried) == (1, 0)
    # The built-in task `fail` has a Retry as well, which nobody here has chosen.
    told = [message for message in caplog.messages if message.startswith("Every run of task")]
    assert len(told) == 1
    assert told[0].startswith("Every run of task 'task' will fail: Only one ")


@pytest.mark.parametrize("cannot_work", [TaskArgument(), TaskArgument("no"), CallArgument("no")])
async def test_an_argument_that_no_call_can_have_is_not_retried(
    docket: Docket, cannot_work: Any
) -> None:
    async def task(own: Any = cannot_work, retry: Retry = Retry.forever()) -> None: ...

    execution = await docket.add(task)()
    worker = await finish(docket)

    assert isinstance(await failure_of(execution), ExceptionGroup)
    assert (worker.counters.failed, worker.counters.retried) == (1, 0)


async def test_a_dependency_that_merely_fails_is_retried(docket: Docket) -> None:
    def flaky() -> None:
        raise ConnectionError

    async def task(
        a: int = 0,
        flaky: Any = Depends(flaky),
        not_passed: Any = TaskArgument("a"),
        retry: Retry = Retry(attempts=3),
        **more: Any,
    ) -> None: ...

    await docket.add(task)()
    worker = await finish(docket)

    assert (worker.counters.failed, worker.counters.retried) == (3, 2)


async def test_a_perpetual_task_goes_on(docket: Docket) -> None:
    async def task(a: Any = Depends(loop), perpetual: Perpetual = Perpetual()) -> None: ...

    await docket.add(task, key="k")()
    async with Worker(docket) as worker:
        await soon(worker.run_at_most({"k": 3}))

    assert (worker.counters.failed, worker.counters.perpetuated) == (3, 2)


async def test_a_fallback_that_cannot_work_fails_what_it_should_run(docket: Docket) -> None:
    async def unknown() -> None: ...

    async def fallback(
        a: Timeout = Timeout(timedelta(1)), b: Timeout = Timeout(timedelta(2))
    ) -> None: ...

    execution = await docket.add(unknown)()
    del docket.tasks["unknown"], docket.plans["unknown"]
    await finish(docket, fallback_task=fallback)

    error = await failure_of(execution)
    assert "Only one Timeout dependency is allowed per task" in str(error.__dict__) + repr(error)
