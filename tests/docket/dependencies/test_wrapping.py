"""A dependency in `Annotated` wraps the call: a gate there is asked in each run."""

import asyncio
from typing import Annotated, Any

import pytest
import uncalled_for

from docket import Depends, Docket, ExecutionState, TaskArgument, TaskKey, Worker
from docket.dependencies import (
    AdmissionBlocked,
    Dependency,
    get_annotation_dependencies,
    get_dependency_parameters,
)
from tests.support.dockets import failure_of, finish, result_of, soon
from tests.support.runs import call

pytestmark = [pytest.mark.anyio, pytest.mark.statement(38)]

events: list[Any] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    events.clear()


class Noted(Dependency[str]):
    """Says what it is bound to, and when it is entered and left."""

    def __init__(self, name: str = "default") -> None:
        self.name = name

    def bind_to_parameter(self, name: str, value: Any) -> "Noted":
        events.append(("bind", self.name, name, value))
        return self

    async def __aenter__(self) -> str:
        events.append(("enter", self.name))
        return "not passed on"

    async def __aexit__(self, exc_type: Any, exc: Any, tb: Any) -> None:
        events.append(("leave", self.name, exc_type))


class NotedByAnother(uncalled_for.Dependency[str]):
    """The same, of another library."""

    async def __aenter__(self) -> str:
        events.append(("enter", "another"))
        return "not passed on"


class Refusing(Dependency[None]):
    def __init__(self, error: Any) -> None:
        self.error = error

    async def __aenter__(self) -> None:
        raise self.error(self.execution.get()) if self.error is AdmissionBlocked else self.error


async def test_it_is_bound_to_what_the_caller_passed_and_is_around_the_call(
    docket: Docket,
) -> None:
    async def task(
        a: Annotated[int, Noted("one"), Noted("two")],
        b: Annotated[str, Noted] = "the default",
    ) -> tuple[int, str]:
        events.append("task")
        return a, b

    by_position = await docket.add(task)(1)
    await finish(docket)
    assert await result_of(by_position) == (1, "the default")
    assert events == [
        *(("bind", "one", "a", 1), ("enter", "one")),
        *(("bind", "two", "a", 1), ("enter", "two")),
        *(("bind", "default", "b", None), ("enter", "default")),
        "task",
        *(("leave", "default", None), ("leave", "two", None), ("leave", "one", None)),
    ]
    events.clear()

    by_name = await docket.add(task)(a=2, b="passed")
    await finish(docket)
    assert await result_of(by_name) == (2, "passed")
    assert [event for event in events if event[0] == "bind"] == [
        ("bind", "one", "a", 2),
        ("bind", "two", "a", 2),
        ("bind", "default", "b", "passed"),
    ]


async def test_it_sees_the_exception_of_the_task(docket: Docket) -> None:
    async def task(a: Annotated[int, Noted("one")] = 1) -> None:
        raise ValueError(a)

    execution = await docket.add(task)()
    await finish(docket)

    assert repr(await failure_of(execution)) == "ValueError(1)"
    assert events[-1] == ("leave", "one", ValueError)


async def test_one_of_another_library_wraps_the_call_too(docket: Docket) -> None:
    async def task(a: Annotated[int, NotedByAnother()]) -> int:
        return a

    execution = await docket.add(task)(3)
    await finish(docket)

    assert await result_of(execution) == 3
    assert events == [("enter", "another")]


async def test_one_of_ours_leaves_the_parameter_as_it_is() -> None:
    async def task(a: Annotated[str, TaskKey()], b: Annotated[str, TaskKey()] = "b") -> Any:
        return a, b

    assert await call(task, "a") == ("a", "b")
    # With neither an argument nor a default the call would fail.
    assert await call(task) == ("the-key", "b")


async def test_what_the_dependency_gives_fills_only_what_is_missing() -> None:
    async def task(a: Annotated[str, Noted("one"), Noted("two")]) -> str:
        return a

    assert await call(task, "passed") == "passed"
    assert await call(task) == "not passed on"


async def test_beside_a_provider_it_is_bound_to_what_that_provides() -> None:
    def load() -> str:
        return "loaded"

    async def task(a: Annotated[str, Depends(load), Noted("one")]) -> str:
        return a

    assert await call(task) == "loaded"
    assert await call(task, a="passed") == "passed"
    assert [event for event in events if event[0] == "bind"] == [
        ("bind", "one", "a", "loaded"),
        ("bind", "one", "a", "passed"),
    ]


async def test_what_raises_on_entering_fails_the_task_under_the_parameter(docket: Docket) -> None:
    async def task(
        a: Annotated[int, Refusing(ValueError("a")), Refusing(ValueError("again"))] = 1,
        b: Annotated[int, Noted("fine"), Refusing(LookupError("b"))] = 1,
        c: Any = TaskArgument("missing"),
    ) -> None:
        events.append("never")

    execution = await docket.add(task)()
    await finish(docket)

    error = await failure_of(execution)
    assert type(error) is ExceptionGroup
    assert error.message == "Failed to resolve dependencies for parameter(s): c, a, b"
    assert list(map(repr, error.exceptions)) == [
        "KeyError('missing')",
        "ValueError('a')",
        "LookupError('b')",
    ]
    assert events[-1] == ("leave", "fine", ExceptionGroup)


async def test_one_that_blocks_turns_the_run_away(docket: Docket) -> None:
    class Blocking(Dependency[None]):
        async def __aenter__(self) -> None:
            raise AdmissionBlocked(self.execution.get(), "closed", reschedule=False)

    async def task(a: Annotated[int, Blocking()] = 1) -> None:
        events.append("never")

    execution = await docket.add(task)()
    await finish(docket)

    await execution.sync()
    assert execution.state is ExecutionState.CANCELLED
    assert events == []


async def test_each_run_is_bound_by_itself(docket: Docket) -> None:
    class Bound(Dependency[Any]):
        def __init__(self, value: Any = None) -> None:
            self.value = value

        def bind_to_parameter(self, name: str, value: Any) -> "Bound":
            return Bound(value)

        async def __aenter__(self) -> None:
            await asyncio.sleep(0)
            events.append(self.value)

    async def task(a: Annotated[int, Bound()]) -> None: ...

    for number in range(5):
        await docket.add(task)(number)
    async with Worker(docket) as worker:
        await soon(worker.run_until_finished())
    assert sorted(events) == [0, 1, 2, 3, 4]


def test_it_is_listed_among_the_annotations_and_not_among_the_parameters() -> None:
    def load() -> None: ...

    one = Noted("one")

    async def task(
        a: Annotated[int, one, Noted], b: Annotated[Any, Depends(load)] = None
    ) -> None: ...

    assert list(get_dependency_parameters(task)) == ["b"]
    [found] = get_annotation_dependencies(task).values()
    assert found[0] is one
    assert [type(dependency) for dependency in found] == [Noted, Noted]
