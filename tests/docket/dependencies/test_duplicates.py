"""Of some classes a task may have one: which, and how the refusal names them."""

from datetime import timedelta
from typing import Annotated, Any

import pytest
import uncalled_for

from docket import Debounce, Depends, Docket, ExponentialRetry, Perpetual, Retry, Timeout, Worker
from docket.dependencies import (
    CompletionHandler,
    Dependency,
    FailureHandler,
    Runtime,
    validate_dependencies,
)
from tests.support.dockets import failure_of, finish

pytestmark = [pytest.mark.anyio, pytest.mark.statement(37)]

SECOND = timedelta(seconds=1)


class MyRuntime(Runtime[Any]):
    async def __aenter__(self) -> Any: ...
    async def run(self, execution: Any, function: Any, args: Any, kwargs: Any) -> Any: ...


class MyHandler(FailureHandler[Any]):
    async def __aenter__(self) -> Any: ...
    async def handle_failure(self, execution: Any, outcome: Any) -> bool:
        return False


class MyCompletion(CompletionHandler[Any]):
    async def __aenter__(self) -> Any: ...
    async def on_complete(self, execution: Any, outcome: Any) -> bool:
        return False


class Session(Dependency[Any]):
    single = True

    async def __aenter__(self) -> Any: ...


class AdminSession(Session): ...


class SessionOfAnotherLibrary(uncalled_for.Dependency[Any]):
    single = True

    async def __aenter__(self) -> Any: ...


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        (Retry(), Retry(attempts=2), "Retry"),
        (Timeout(SECOND), Timeout(SECOND), "Timeout"),
        (Perpetual(), Perpetual(), "Perpetual"),
        (Debounce(SECOND), Debounce(SECOND), "Debounce"),
        (Session(), Session(), "Session"),
        (SessionOfAnotherLibrary(), SessionOfAnotherLibrary(), "SessionOfAnotherLibrary"),
    ],
)
async def test_two_of_the_same_class_are_refused_at_registration_and_at_add(
    docket: Docket, first: Any, second: Any, name: str
) -> None:
    async def task(a: Any = first, b: Any = second) -> None: ...

    message = f"^Only one {name} dependency is allowed per task$"
    for refused in (docket.register, docket.add, validate_dependencies):
        with pytest.raises(ValueError, match=message):
            refused(task)


@pytest.mark.parametrize(
    ("first", "second", "base", "names"),
    [
        (Timeout(SECOND), MyRuntime(), "Runtime", "Timeout, MyRuntime"),
        (MyRuntime(), Timeout(SECOND), "Runtime", "MyRuntime, Timeout"),
        (ExponentialRetry(), MyHandler(), "FailureHandler", "ExponentialRetry, MyHandler"),
        (MyCompletion(), Perpetual(), "CompletionHandler", "MyCompletion, Perpetual"),
        (Session(), AdminSession(), "Session", "Session, AdminSession"),
    ],
)
def test_two_under_one_class_are_named_after_it(
    first: Any, second: Any, base: str, names: str
) -> None:
    async def task(a: Any = first, b: Any = second) -> None: ...

    async def annotated(a: Any = first, b: Annotated[Any, second] = None) -> None: ...

    message = f"^Only one {base} dependency is allowed, but found: {names}$"
    for each in (task, annotated):
        with pytest.raises(ValueError, match=message):
            Docket().register(each)


@pytest.mark.parametrize(
    ("outer", "inner", "runs"),
    [
        (Retry(attempts=3), Retry(attempts=2), 2),
        (ExponentialRetry(attempts=3), Retry(attempts=2), 2),
        (Retry(attempts=3), MyHandler(), 1),
    ],
)
async def test_one_that_a_dependency_asks_for_may_stand_beside_one_of_the_task(
    docket: Docket, outer: Any, inner: Any, runs: int
) -> None:
    begun: list[int] = []

    async def task(a: Any = Depends(lambda b=inner: None), again: Any = outer) -> None:
        begun.append(1)
        raise ValueError("no")

    execution = await docket.add(task)()
    await finish(docket)

    await execution.sync()
    assert len(begun) == runs, "the first of them acts"


async def test_one_of_the_worker_excludes_one_that_a_dependency_of_the_task_asks_for(
    docket: Docket,
) -> None:
    async def task(a: Any = Depends(lambda b=Retry(attempts=2): None)) -> None:
        raise AssertionError

    execution = await docket.add(task)()
    await finish(docket, dependencies=[Retry(attempts=3)])

    assert "__conflict_Retry__" in str(await failure_of(execution))


async def test_one_of_the_worker_and_one_of_the_task_are_named_with_their_places(
    docket: Docket,
) -> None:
    async def task(again: Retry = Retry(attempts=5)) -> None:
        raise AssertionError

    same = await docket.add(task)()
    await finish(docket, dependencies={"mine": Retry(attempts=5)})
    other = await docket.add(task)()
    await finish(docket, dependencies=[MyHandler()])

    error = await failure_of(same)
    assert type(error) is ExceptionGroup
    assert str(error.exceptions[0]) == (
        "Only one Retry dependency is allowed, but found at: 'mine' of the worker, 'again' of the "
        "task. Declare it in one place (task or worker)"
    )
    error = await failure_of(other)
    assert isinstance(error, ExceptionGroup)
    assert str(error.exceptions[0]) == (
        "Only one FailureHandler dependency is allowed, but found: '__worker_dep_0__' of the "
        "worker (MyHandler), 'again' of the task (Retry). Declare it in one place (task or worker)"
    )


def test_two_of_a_worker_are_refused_when_it_is_made() -> None:
    with pytest.raises(ValueError, match=r"but found: Timeout, MyRuntime$"):
        Worker(Docket(), dependencies=[Timeout(SECOND), MyRuntime()])
