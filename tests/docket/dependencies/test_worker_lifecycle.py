"""Dependencies that surround each run of a worker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any

import pytest
import uncalled_for

from docket import Docket, Worker
from docket.dependencies import Dependency
from tests.support.dockets import finish, soon

pytestmark = [pytest.mark.anyio, pytest.mark.statement(5)]

events: list[str] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    events.clear()


class First(Dependency[str]):
    async def __aenter__(self) -> str:
        return "value"

    @classmethod
    def worker_lifecycle(
        cls, docket: Docket, worker: Worker
    ) -> AbstractAsyncContextManager[None] | None:
        events.append(f"asked {cls.__name__} of {docket.name == worker.docket.name}")

        @asynccontextmanager
        async def lifecycle() -> AsyncIterator[None]:
            events.append(f"enter {cls.__name__}")
            try:
                yield
            finally:
                events.append(f"leave {cls.__name__}")

        return lifecycle()


class Second(First): ...


class OfTheWorker(First): ...


class WithNothing(First):
    @classmethod
    def worker_lifecycle(cls, docket: Docket, worker: Worker) -> None:
        events.append(f"asked {cls.__name__}")


class OfAnotherLibrary(uncalled_for.Dependency[str]):
    async def __aenter__(self) -> str:
        return "value"

    worker_lifecycle = classmethod(First.worker_lifecycle.__func__)  # type: ignore[attr-defined]


async def test_each_class_surrounds_the_run_in_the_order_of_the_tasks(docket: Docket) -> None:
    async def one(
        a: Annotated[int, Second()] = 1, b: Any = First(), c: Annotated[int, WithNothing()] = 1
    ) -> None:
        events.append("task")

    async def two(a: Any = Second(), b: Any = First(), c: Any = OfAnotherLibrary()) -> None: ...

    docket.register(one)
    docket.register(two)
    docket.register(two, names=["another_name"])
    expected = [
        *("asked First of True", "enter First", "asked Second of True", "enter Second"),
        "asked WithNothing",
        *("asked OfAnotherLibrary of True", "enter OfAnotherLibrary"),
        *("asked OfTheWorker of True", "enter OfTheWorker"),
        "task",
        *("leave OfTheWorker", "leave OfAnotherLibrary", "leave Second", "leave First"),
    ]

    async with Worker(docket, dependencies=[OfTheWorker()]) as worker:
        for _ in range(2):  # A second run does it all again.
            await docket.add(one)()
            await soon(worker.run_until_finished())
            assert events == expected
            events.clear()


async def test_it_begins_before_anything_is_claimed_and_ends_after_the_last_task(
    docket: Docket,
) -> None:
    opened = asyncio.Event()
    is_open: list[bool] = []

    class Opening(Dependency[None]):
        async def __aenter__(self) -> None: ...

        @classmethod
        @asynccontextmanager
        async def worker_lifecycle(cls, docket: Docket, worker: Worker) -> AsyncIterator[None]:
            opened.set()
            yield
            opened.clear()

    async def task(o: Any = Opening()) -> None:
        is_open.append(opened.is_set())

    await docket.add(task)()
    await finish(docket)
    assert is_open == [True]
    assert not opened.is_set()


async def test_one_that_cannot_be_entered_ends_the_run_and_leaves_the_others(
    docket: Docket,
) -> None:
    class Broken(Dependency[None]):
        async def __aenter__(self) -> None: ...

        @classmethod
        @asynccontextmanager
        async def worker_lifecycle(cls, docket: Docket, worker: Worker) -> AsyncIterator[None]:
            raise OSError("no port")
            yield

    async def task(a: Any = First(), b: Any = Broken()) -> None:
        raise AssertionError

    await docket.add(task)()
    async with Worker(docket) as worker:
        with pytest.raises(OSError, match="no port"):
            await soon(worker.run_until_finished())
    assert events == ["asked First of True", "enter First", "leave First"]
