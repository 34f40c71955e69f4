"""A plan is executed: each value once, everything closed in reverse order."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from docket.dependencies import (
    Depends,
    TaskArgument,
    TaskKey,
)
from tests.support.runs import Run, call, execute, resolution_of

pytestmark = pytest.mark.anyio


async def test_functions_and_context_managers_sync_and_async_all_give_their_value() -> None:
    def plain() -> str:
        return "plain"

    async def coroutine() -> str:
        return "coroutine"

    @contextmanager
    def manager() -> Iterator[str]:
        yield "manager"

    @asynccontextmanager
    async def async_manager() -> AsyncIterator[str]:
        yield "async manager"

    def generator() -> Iterator[str]:
        yield "generator"

    async def async_generator() -> AsyncIterator[str]:
        yield "async generator"

    async def task(
        a: str = Depends(plain),
        b: str = Depends(coroutine),
        c: str = Depends(manager),
        d: str = Depends(async_manager),
        e: str = Depends(generator),
        f: str = Depends(async_generator),
        g: str = Depends(lambda: coroutine()),  # noqa: PLW0108 - not known to be one
        h: str = Depends(lambda: async_manager()),  # noqa: PLW0108
    ) -> tuple[str, ...]:
        return a, b, c, d, e, f, g, h

    assert await call(task) == (
        "plain",
        "coroutine",
        "manager",
        "async manager",
        "generator",
        "async generator",
        "coroutine",
        "async manager",
    )


async def test_dependencies_are_resolved_once_a_run_and_anew_in_the_next() -> None:
    made: list[object] = []

    def shared() -> object:
        made.append(object())
        return made[-1]

    def one(x: object = Depends(shared)) -> object:
        return x

    def two(x: object = Depends(shared), y: object = Depends(one)) -> object:
        assert x is y
        return x

    async def task(
        a: object = Depends(one), b: object = Depends(two), c: object = Depends(shared)
    ) -> object:
        assert a is b is c
        return a

    assert await call(task) is not await call(task)
    assert len(made) == 2


async def test_what_was_opened_is_closed_in_reverse_order_after_the_task() -> None:
    events: list[str] = []

    @contextmanager
    def outer() -> Iterator[str]:
        events.append("outer opened")
        yield "outer"
        events.append("outer closed")

    @asynccontextmanager
    async def inner(o: str = Depends(outer)) -> AsyncIterator[str]:
        events.append(f"inner opened in {o}")
        yield "inner"
        events.append("inner closed")

    async def task(i: str = Depends(inner)) -> None:
        events.append("task")

    await call(task)

    assert events == [
        "outer opened",
        "inner opened in outer",
        "task",
        "inner closed",
        "outer closed",
    ]


async def test_context_managers_see_the_exception_of_the_task_which_goes_on() -> None:
    seen: list[BaseException] = []

    @contextmanager
    def watching() -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            seen.append(error)
            raise

    async def task(error: BaseException, w: None = Depends(watching)) -> None:
        raise error

    for error in ValueError("of the task"), asyncio.CancelledError():
        with pytest.raises(type(error)):
            await call(task, error)

    assert [type(error) for error in seen] == [ValueError, asyncio.CancelledError]


async def test_a_context_manager_that_swallows_the_exception_ends_it() -> None:
    @asynccontextmanager
    async def swallowing() -> AsyncIterator[None]:
        try:
            yield
        except ValueError:
            return

    async def task(s: None = Depends(swallowing)) -> None:
        raise ValueError

    assert await call(task) is None


async def test_a_failure_while_closing_is_the_failure_of_the_task_and_the_rest_is_closed() -> None:
    events: list[str] = []

    @contextmanager
    def outer() -> Iterator[None]:
        try:
            yield
        finally:
            events.append("outer closed")

    @contextmanager
    def inner() -> Iterator[None]:
        yield
        raise RuntimeError("cannot close")

    async def task(o: None = Depends(outer), i: None = Depends(inner)) -> None: ...

    with pytest.raises(RuntimeError, match="cannot close"):
        await call(task)
    assert events == ["outer closed"]


async def test_what_an_async_function_returns_is_handed_over_unopened() -> None:
    class Connection:
        async def __aenter__(self) -> None:
            raise AssertionError("opened")

        async def __aexit__(self, *exc: object) -> None: ...

    async def connect() -> Connection:
        return Connection()

    async def task(connection: Connection = Depends(connect)) -> object:
        return connection

    assert isinstance(await call(task), Connection)


async def test_a_run_without_a_failure_handler_has_none() -> None:
    async def task(key: str = TaskKey()) -> None: ...

    assert resolution_of(Run(task)).failure_handler() is None


async def test_runs_at_the_same_time_do_not_share_what_they_resolve() -> None:
    both = asyncio.Barrier(2)

    async def fetch(number: int = TaskArgument()) -> int:
        await both.wait()
        return number

    async def task(number: int, fetched: int = Depends(fetch), key: str = TaskKey()) -> Any:
        await both.wait()
        return number, fetched, key

    results = await asyncio.gather(
        execute(Run(task, (1,), key="a")), execute(Run(task, (2,), key="b"))
    )

    assert results == [(1, 1, "a"), (2, 2, "b")]
