"""Dependencies of other libraries, which build on `uncalled_for` as ours do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated, Any

import pytest
import uncalled_for
from uncalled_for import CallArgument, Depends, Shared

import docket as ours
from docket import (
    Cooldown,
    CurrentDocket,
    Docket,
    ExponentialRetry,
    Progress,
    Retry,
    TaskArgument,
    TaskKey,
    Timeout,
    dependencies,
)
from docket.dependencies import Dependency, _Depends, _parameter_cache
from docket.execution import _signature_cache
from tests.support.dockets import failure_of, finish, result_of

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)


class CurrentRequest(uncalled_for.Dependency[str]):
    """As other libraries have them: a value of the surroundings, with a beginning and an end."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def __aenter__(self) -> str:
        self.events.append("enter")
        return f"request of {dependencies.current_execution.get().key}"

    async def __aexit__(self, exc_type: Any, exc: Any, tb: Any) -> None:
        self.events.append(f"leave with {exc_type}")


class NamedAfterItsParameter(uncalled_for.Dependency[str]):
    def __init__(self, name: str = "unknown") -> None:
        self.name = name

    def for_parameter(self, name: str) -> uncalled_for.Dependency[str]:
        return NamedAfterItsParameter(name)

    async def __aenter__(self) -> str:
        return self.name


class OwnDepends(type(Depends(print))):  # type: ignore[misc]
    """A subclass that another library derives from what `Depends` makes."""

    async def __aenter__(self) -> Any:
        return ["derived", await super().__aenter__()]


async def test_their_depends_shared_and_arguments_are_resolved_like_ours(docket: Docket) -> None:
    events: list[str] = []

    @asynccontextmanager
    async def pool() -> AsyncIterator[str]:
        events.append("open")
        yield "pool"
        events.append("close")

    def customer(number: int = CallArgument(), key: str = TaskKey(), p: str = Shared(pool)) -> str:
        return f"{number} {key} {p}"

    async def task(
        number: int,
        theirs: str = Depends(customer),
        mine: str = ours.Depends(customer),
        pool: str = ours.Shared(pool),
        bound: str = Depends(customer, number=CallArgument("other")),
        other: int = 8,
    ) -> Any:
        return theirs, mine, pool, bound

    first, second = await docket.add(task, key="a")(7), await docket.add(task, key="b")(9)
    await finish(docket)

    assert await result_of(first) == ("7 a pool", "7 a pool", "pool", "8 a pool")
    assert await result_of(second) == ("9 b pool", "9 b pool", "pool", "8 b pool")
    assert events == ["open", "close"]


async def test_a_dependency_of_theirs_is_entered_and_left_wherever_it_stands(
    docket: Docket,
) -> None:
    default, nested, bound, around, shared = (CurrentRequest() for _ in range(5))

    def in_a_function(r: Any = nested) -> str:
        return f"nested {r}"

    def takes(r: str) -> str:
        return f"bound {r}"

    def made_once(r: Any = shared) -> str:
        return f"shared {r}"

    async def task(
        a: Any = default,
        b: str = ours.Depends(in_a_function),
        c: str = ours.Depends(takes, r=bound),
        d: str = ours.Shared(made_once),
    ) -> Any:
        return a, b, c, d

    execution = await docket.add(task, key="k")()
    await finish(docket, dependencies=[around])

    assert await result_of(execution) == (
        "request of k",
        "nested request of k",
        "bound request of k",
        "shared request of k",
    )
    for dependency in default, nested, bound, around, shared:
        assert dependency.events == ["enter", "leave with None"]


async def test_one_that_fails_fails_the_task_by_its_name(docket: Docket) -> None:
    class Missing(uncalled_for.Dependency[str]):
        async def __aenter__(self) -> str:
            raise RuntimeError("no request here")

    async def task(token: Any = Missing()) -> None:
        raise AssertionError

    execution = await docket.add(task)()
    await finish(docket)

    error = await failure_of(execution)
    assert isinstance(error, ExceptionGroup)
    assert error.message == "Failed to resolve dependencies for parameter(s): token"
    assert repr(error.exceptions[0]) == "RuntimeError('no request here')"


async def test_one_is_told_the_parameter_that_it_stands_at(docket: Docket) -> None:
    shared = NamedAfterItsParameter()

    async def task(first: Any = shared, second: Any = shared) -> Any:
        return first, second

    execution = await docket.add(task)()
    await finish(docket)
    assert await result_of(execution) == ("first", "second")


async def test_a_provider_of_theirs_gives_the_value_in_annotated_too(docket: Docket) -> None:
    class Token(uncalled_for.Provider[str]):
        async def __aenter__(self) -> str:
            return "token"

    async def task(
        a: Annotated[str, Token()], b: Annotated[str, Token] = uncalled_for.Provided
    ) -> Any:
        return a, b

    execution, passed = await docket.add(task)(), await docket.add(task)(b="passed")
    await finish(docket)
    assert await result_of(execution) == ("token", "token")
    assert await result_of(passed) == ("token", "passed")


async def test_a_worker_may_have_theirs_around_every_task(docket: Docket) -> None:
    events: list[Any] = []

    def pool() -> str:
        events.append("made once")
        return "pool"

    def note(number: int = CallArgument(optional=True), p: str = Shared(pool)) -> None:
        events.append((number, p))

    async def task(number: int) -> None: ...

    async def without() -> None: ...

    await docket.add(task)(1)
    await docket.add(task)(number=2)
    await docket.add(without)()
    named = NamedAfterItsParameter("itself")
    await finish(docket, dependencies=[Depends(note), Shared(pool), named], concurrency=1)

    assert events == ["made once", (1, "pool"), (2, "pool"), (None, "pool")]


async def test_a_subclass_of_depends_resolves_in_its_own_way_and_shares_the_values(
    docket: Docket,
) -> None:
    calls: list[str] = []

    def load(key: str = TaskKey(), number: int = TaskArgument()) -> str:
        calls.append(key)
        return f"{key} {number}"

    async def task(number: int, a: str = Depends(load), b: Any = OwnDepends(load)) -> Any:
        return a, b

    execution = await docket.add(task, key="k")(3)
    await finish(docket)

    assert await result_of(execution) == ("k 3", ["derived", "k 3"])
    assert calls == ["k"]


async def test_one_sees_the_call_of_the_task_in_its_frame(docket: Docket) -> None:
    entered: list[str] = []

    class Sibling(uncalled_for.Dependency[str]):
        async def __aenter__(self) -> str:
            entered.append("sibling")
            return "sibling"

    class Asking(uncalled_for.Dependency[Any]):
        async def __aenter__(self) -> Any:
            frame = uncalled_for.current_frame()
            assert isinstance(frame, uncalled_for.Frame)
            names = ("number", "word", "default", "later", "loaded")
            values = [await frame.resolve(name) for name in names]
            with pytest.raises(LookupError):
                await frame.resolve("later", provided_only=True)
            with pytest.raises(LookupError):
                await frame.resolve("nowhere")
            return [frame.function.__name__, frame.provided, *values]

    def asking_too() -> Any:
        return uncalled_for.current_frame().provided

    def load(number: int = CallArgument()) -> int:
        return 10 * number

    async def task(
        number: int,
        *,
        word: str,
        default: str = "d",
        asking: Any = Asking(),
        later: Any = Sibling(),
        loaded: int = Depends(load),
        in_a_function: Any = ours.Depends(asking_too),
    ) -> Any:
        return asking, later, loaded, in_a_function

    execution = await docket.add(task)(4, word="w")
    await finish(docket)

    passed = {"number": 4, "word": "w"}
    asked = ["task", passed, 4, "w", "d", "sibling", 40]
    assert await result_of(execution) == (asked, "sibling", 40, passed)
    assert entered == ["sibling"]


async def test_it_may_resolve_other_functions_by_itself(docket: Docket) -> None:
    made: list[str] = []

    def pool() -> str:
        made.append("pool")
        return "pool"

    async def inner(
        number: int,
        key: str = TaskKey(),
        pool: str = Shared(pool),
        again: Retry = Retry(attempts=3),
        passed: int = TaskArgument("number"),
    ) -> None: ...

    class Calling(uncalled_for.Dependency[Any]):
        async def __aenter__(self) -> Any:
            async with uncalled_for.resolved_dependencies(inner, {"number": 5}) as values:
                return {**values, "again": values["again"].attempts}

    async def task(called: Any = Calling(), pool: str = ours.Shared(pool)) -> Any:
        return called, pool

    execution = await docket.add(task, key="k")()
    await finish(docket)

    called, pool_of_the_task = await result_of(execution)
    assert called == {"key": "k", "pool": "pool", "again": 3, "passed": 5}
    assert pool_of_the_task == "pool"
    assert made == ["pool"]


async def test_what_needs_no_run_works_outside_of_a_worker() -> None:
    opened: list[str] = []

    @asynccontextmanager
    async def connection(number: int = ours.CallArgument()) -> AsyncIterator[str]:
        opened.append("open")
        yield f"connection {number}"
        opened.append("close")

    def pool() -> str:
        return "pool"

    async def function(
        number: int,
        c: str = ours.Depends(connection),
        again: str = Depends(connection),
        p: str = ours.Shared(pool),
        passed: int = TaskArgument("number"),
        missing: Any = TaskArgument("missing", optional=True),
    ) -> None: ...

    async with (
        dependencies.SharedContext(),
        uncalled_for.resolved_dependencies(function, {"number": 2}) as values,
    ):
        assert values == {
            "c": "connection 2",
            "again": "connection 2",
            "p": "pool",
            "passed": 2,
            "missing": None,
        }
    assert opened == ["open", "close"]


@pytest.mark.parametrize(
    "dependency",
    [
        *(TaskKey(), CurrentDocket(), Progress(), Retry(), ExponentialRetry(), ours.TaskLogger()),
        *(ours.Perpetual(), ours.Cron("@daily"), ours.CurrentWorker(), ours.CurrentExecution()),
        *(Timeout(SECOND), Cooldown(SECOND), ours.RateLimit(1, per=SECOND)),
        *(ours.Debounce(SECOND), ours.ConcurrencyLimit(max_concurrent=1)),
    ],
)
async def test_what_needs_a_run_fails_by_its_name_outside_of_a_worker(dependency: Any) -> None:
    async def function(value: Any = dependency) -> None: ...

    async with uncalled_for.resolved_dependencies(function) as values:
        failed = values["value"]
    assert isinstance(failed, dependencies.FailedDependency)
    assert isinstance(failed.error, LookupError)
    assert type(dependency).__name__.lstrip("_") in str(failed.error)


async def test_a_limit_that_only_another_library_enters_fails_by_its_name(docket: Docket) -> None:
    async def inner(limit: Any = Cooldown(SECOND)) -> None: ...

    async def task() -> str:
        async with uncalled_for.resolved_dependencies(inner) as values:
            return str(values["limit"].error)

    execution = await docket.add(task)()
    await finish(docket)
    assert (await result_of(execution)).startswith("Cooldown limits nothing here")


def test_parameters_with_dependencies_are_hidden_from_who_builds_a_schema() -> None:
    def load(number: int = ours.CallArgument("size")) -> int:
        return number

    async def task(
        a: int,
        key: str = TaskKey(),
        b: int = ours.Depends(load),
        c: Any = ours.Shared(print),
        d: Annotated[int, ours.Depends(load)] = uncalled_for.Provided,
        r: Retry = Retry(),
        w: Annotated[int, Timeout(SECOND)] = 1,
    ) -> None: ...

    found = uncalled_for.get_dependency_parameters(task)
    shown = uncalled_for.without_dependencies(task)
    assert list(found) == ["key", "b", "c", "d", "r"]
    assert list(uncalled_for.get_signature(shown).parameters) == ["a", "w", "size"]
    assert list(dependencies.get_dependency_parameters(task)) == list(found)
    assert uncalled_for.get_annotation_dependencies(task).keys() == {"w"}


def test_the_classes_are_theirs_or_subclasses_of_theirs() -> None:
    assert issubclass(Dependency, uncalled_for.Dependency)
    for name in ("CycleError", "FailedDependency"):
        assert getattr(dependencies, name) is getattr(uncalled_for, name)
    assert issubclass(dependencies.SharedContext, uncalled_for.SharedContext)
    for mine, theirs in (
        (ours.Depends(print), Depends(print)),
        (ours.Shared(print), Shared(print)),
        (ours.CallArgument(), CallArgument()),
    ):
        assert type(mine) is type(theirs)
    assert isinstance(TaskArgument(), type(CallArgument()))
    assert isinstance(TaskArgument(), uncalled_for.Provider)


def test_what_is_a_dependency_of_theirs_is_one_of_ours() -> None:
    for dependency in CurrentRequest(), Depends(print), TaskArgument(), Retry():
        assert isinstance(dependency, Dependency)
        assert not isinstance(dependency, dependencies.CompletionHandler)
    assert issubclass(uncalled_for.Dependency, Dependency)
    assert not issubclass(int, Dependency)
    assert not issubclass(CurrentRequest, dependencies.Runtime)


def test_a_default_that_nothing_provides_is_refused() -> None:
    async def task(a: int = uncalled_for.Provided) -> None: ...

    with pytest.raises(TypeError, match="parameter 'a' of 'task' defaults to Provided"):
        Docket().register(task)


@pytest.mark.statement(52)
async def test_the_caches_may_be_cleared_after_a_signature_was_changed(docket: Docket) -> None:
    async def task(key: str = "") -> str:
        return key

    dependencies.get_dependency_parameters(task)
    uncalled_for.get_dependency_parameters(task)
    task.__defaults__ = (TaskKey(),)
    _parameter_cache.pop(task, None)
    _signature_cache.pop(task, None)

    assert list(dependencies.get_dependency_parameters(task)) == ["key"]
    assert list(uncalled_for.get_dependency_parameters(task)) == ["key"]
    execution = await docket.add(task, key="k")()
    await finish(docket)
    assert await result_of(execution) == "k"
    assert isinstance(ours.Depends(print), _Depends)
