"""Dependencies of a worker: around every task that it runs."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from docket import Depends, Docket, Perpetual, Retry, Timeout, Worker
from docket.dependencies import Dependency
from tests.support.dockets import failure_of, finish, result_of, soon

pytestmark = pytest.mark.anyio


class Noted(Dependency[str]):
    """Says when it is entered and left."""

    def __init__(self, name: str, events: list[str]) -> None:
        self.name = name
        self.events = events

    async def __aenter__(self) -> str:
        self.events.append(f"enter {self.name}")
        return self.name

    async def __aexit__(self, exc_type: object, *_: object) -> None:
        self.events.append(f"leave {self.name}")


class Broken(Dependency[None]):
    async def __aenter__(self) -> None:
        raise ValueError("broken")


in_a_module = [Timeout(timedelta(minutes=1))]


@pytest.fixture
def events() -> list[str]:
    return []


async def test_they_are_entered_before_those_of_the_task_and_left_after_them(
    docket: Docket, events: list[str]
) -> None:
    async def task(own: Any = Noted("own", events)) -> str:
        events.append("task")
        return own

    execution = await docket.add(task)()
    await finish(docket, dependencies={"a": Noted("a", events), "b": Noted("b", events)})

    assert await result_of(execution) == "own"
    assert events == [
        *("enter a", "enter b", "enter own"),
        "task",
        *("leave own", "leave b", "leave a"),
    ]


async def test_they_are_around_a_task_without_dependencies_and_the_fallback_too(
    docket: Docket, events: list[str]
) -> None:
    async def plain(a: int = 1) -> int:
        return a

    async def fallback() -> str:
        return "fallback"

    executions = [await docket.add(plain)(a=2), await docket.add(fallback)()]
    # As a worker that knows nothing of the second.
    del docket.tasks["fallback"], docket.plans["fallback"]
    dependencies = [Noted("around", events)]
    await finish(docket, dependencies=dependencies, fallback_task=fallback, concurrency=1)

    assert [await result_of(e) for e in executions] == [2, "fallback"]
    assert events == ["enter around", "leave around"] * 2


async def test_a_parameter_of_the_same_name_is_another(docket: Docket, events: list[str]) -> None:
    async def task(x: Any = Noted("the task's", events)) -> str:
        return x

    execution = await docket.add(task)()
    given = await docket.add(task)(x="the caller's")
    await finish(docket, dependencies={"x": Noted("the worker's", events)}, concurrency=1)

    assert await result_of(execution) == "the task's"
    assert await result_of(given) == "the caller's"
    assert events.count("enter the worker's") == 2


async def test_a_timeout_of_the_worker_limits_every_task(docket: Docket) -> None:
    async def task() -> None:
        await asyncio.sleep(60)

    execution = await docket.add(task)()
    await finish(docket, dependencies=[Timeout(timedelta(milliseconds=20))])

    assert isinstance(await failure_of(execution), TimeoutError)


async def test_a_retry_of_the_worker_retries_every_task(docket: Docket) -> None:
    tries: list[int] = []

    async def task() -> None:
        tries.append(1)
        raise ValueError("each time")

    execution = await docket.add(task)()
    await finish(docket, dependencies={"retry": Retry(attempts=3)})

    assert isinstance(await failure_of(execution), ValueError)
    assert len(tries) == 3


async def test_one_that_fails_fails_the_task_by_its_name(docket: Docket) -> None:
    async def task(own: None = Depends(lambda: 1 / 0)) -> None: ...

    execution = await docket.add(task)()
    await finish(docket, dependencies={"mine": Broken()})
    nameless = await docket.add(task)()
    await finish(docket, dependencies=[Broken()])

    message = "Failed to resolve dependencies for parameter(s): "
    assert str(await failure_of(execution)).startswith(message + "mine, own")
    assert str(await failure_of(nameless)).startswith(message + "__worker_dep_0__, own")


async def test_a_single_one_on_both_the_worker_and_the_task_fails_that_task(
    docket: Docket,
) -> None:
    async def conflicting(timeout: Timeout = Timeout(timedelta(minutes=2))) -> None: ...

    async def fine() -> str:
        return "fine"

    first, second = await docket.add(conflicting)(), await docket.add(conflicting)()
    other = await docket.add(fine)()
    await finish(docket, dependencies=in_a_module)

    for execution in (first, second):
        error = await failure_of(execution)
        assert type(error) is ExceptionGroup
        assert "__conflict_Timeout__" in str(error)
        assert str(error.exceptions[0]) == (
            "Only one Timeout dependency is allowed, but found at: '__worker_dep_0__' of the "
            "worker, 'timeout' of the task. Declare it in one place (task or worker)"
        )
    assert await result_of(other) == "fine"


async def test_a_conflict_does_not_end_a_perpetual_chain(docket: Docket) -> None:
    async def task(
        timeout: Timeout = Timeout(timedelta(minutes=2)), perpetual: Perpetual = Perpetual()
    ) -> None: ...

    await docket.add(task, key="k")()
    async with Worker(docket, dependencies=in_a_module) as worker:
        await soon(worker.run_at_most({"k": 3}))

    assert worker.counters.failed == 3
    assert worker.counters.perpetuated == 2


def test_they_may_be_named_by_a_module_and_a_member() -> None:
    worker = Worker(Docket(), dependencies=f"{__name__}:in_a_module")
    assert worker.dependencies == {"__worker_dep_0__": in_a_module[0]}


@pytest.mark.parametrize("path", ["nothing", "json:", ":member"])
def test_a_path_of_another_form_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not of the form 'module:member'"):
        Worker(Docket(), dependencies=path)


def test_a_name_that_begins_with_two_underscores_is_reserved() -> None:
    with pytest.raises(ValueError, match="'__mine' is reserved"):
        Worker(Docket(), dependencies={"__mine": Broken()})


@pytest.mark.parametrize("given", [{"a": 3}, [3], (Broken(), Broken)])
def test_something_else_than_a_dependency_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match="must be a Dependency instance"):
        Worker(Docket(), dependencies=given)


def test_something_that_is_no_collection_is_refused() -> None:
    wrong: Any = 3
    with pytest.raises(TypeError, match="a mapping, a sequence or 'module:member', not a int"):
        Worker(Docket(), dependencies=wrong)


def test_two_of_a_kind_of_which_a_task_has_one_are_refused() -> None:
    with pytest.raises(ValueError, match="Only one Retry dependency is allowed per task"):
        Worker(Docket(), dependencies=[Retry(), Retry()])


def test_without_any_there_are_none() -> None:
    assert Worker(Docket()).dependencies == {}
    assert Worker(Docket(), dependencies=[]).dependencies == {}
