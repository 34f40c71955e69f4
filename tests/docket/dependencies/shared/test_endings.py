"""The end of what lives longer than a task: in one asyncio task, in order, and in bounded time."""

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

from docket import Depends, Docket, Shared, Worker
from docket.dependencies import Dependency, caretaker
from tests.support.dockets import Gate, at_work, failure_of, finish, result_of, soon

pytestmark = pytest.mark.anyio

tenant: ContextVar[str] = ContextVar("tenant")


@asynccontextmanager
async def group() -> AsyncGenerator[Any]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.sleep_forever)
        yield "group"
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def shielded() -> AsyncGenerator[str]:
    with anyio.CancelScope(shield=True):
        yield "shielded"


@asynccontextmanager
async def bound() -> AsyncGenerator[str]:
    token = tenant.set("x")
    yield "bound"
    tenant.reset(token)


@contextmanager
def plain() -> Generator[str]:
    token = tenant.set("plain")
    yield "plain"
    tenant.reset(token)


def nested(g: Any = Depends(group), s: str = Shared(shielded), p: str = Depends(plain)) -> str:
    return f"{g} {s} {p}"


@pytest.mark.parametrize("factory", [group, shielded, bound, plain, nested])
async def test_what_is_bound_to_its_task_or_context_can_be_closed(
    docket: Docket, caplog: pytest.LogCaptureFixture, factory: Callable[..., Any]
) -> None:
    async def task(value: Any = Shared(factory), other: str = Shared(bound)) -> str:
        return str(value)

    async def opens_first(other: Any = Shared(group), more: Any = Shared(plain)) -> None: ...

    await docket.add(opens_first)()
    execution = await docket.add(task)()
    await finish(docket, concurrency=1)

    assert await result_of(execution) is not None
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


async def test_lifecycles_are_bound_to_one_task_and_tasks_see_their_context(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    class Bound(Dependency[None]):
        async def __aenter__(self) -> None: ...

        @classmethod
        @asynccontextmanager
        async def worker_lifecycle(cls, docket: Docket, worker: Worker) -> AsyncGenerator[None]:
            async with group(), bound():
                yield

    async def task(b: Any = Bound()) -> str:
        return tenant.get()

    execution = await docket.add(task)()
    await finish(docket)

    assert await result_of(execution) == "x"
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    "error", [ConnectionError("gone"), SystemExit(3), asyncio.CancelledError()], ids=repr
)
async def test_an_end_that_fails_is_logged_by_name_and_the_others_end_too(
    docket: Docket, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    ended: list[str] = []

    @asynccontextmanager
    async def first() -> AsyncGenerator[None]:
        yield
        ended.append("first")

    @asynccontextmanager
    async def failing() -> AsyncGenerator[None]:
        yield
        raise error

    @contextmanager
    def last() -> Generator[None]:
        yield
        ended.append("last")
        raise LookupError("plain")

    class Failing(Dependency[None]):
        async def __aenter__(self) -> None: ...

        @classmethod
        @asynccontextmanager
        async def worker_lifecycle(cls, docket: Docket, worker: Worker) -> AsyncGenerator[None]:
            yield
            raise error

    async def task(
        a: None = Shared(first),
        b: None = Shared(failing),
        c: None = Shared(last),
        d: Any = Failing(),
    ) -> None: ...

    execution = await docket.add(task)()
    await finish(docket)

    assert await result_of(execution) is None
    assert ended == ["last", "first"]
    failed = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert [r.exc_info[1] for r in failed if r.exc_info][::2] == [error, error]
    said = " ".join(r.getMessage() for r in failed)
    assert "Failing" in said
    assert "failing" in said
    assert "last" in said


async def waits() -> None:
    await asyncio.Event().wait()


async def ignores_its_cancellation() -> None:
    while True:
        try:
            await waits()
        except asyncio.CancelledError:
            continue


@pytest.mark.parametrize("ending", [waits, ignores_its_cancellation])
@pytest.mark.parametrize("kind", ["shared", "lifecycle"])
def test_an_end_that_hangs_is_logged_with_its_stack_and_given_up(
    server: str,
    docket_name: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    ending: Callable[[], Any],
    kind: str,
) -> None:
    monkeypatch.setattr(caretaker, "TEARDOWN_SECONDS", 0.2)
    monkeypatch.setattr(caretaker, "CANCELLED_SECONDS", 0.2)
    ended: list[str] = []

    @asynccontextmanager
    async def hanging(*_: object) -> AsyncGenerator[None]:
        yield
        await ending()

    class Hanging(Dependency[None]):
        async def __aenter__(self) -> None: ...

        worker_lifecycle = staticmethod(hanging)

    @asynccontextmanager
    async def opened_before() -> AsyncGenerator[None]:
        yield
        ended.append("opened before")

    async def by_shared(b: None = Shared(opened_before), h: None = Shared(hanging)) -> None: ...
    async def by_lifecycle(h: Any = Hanging()) -> None: ...

    async def main() -> None:
        async with Docket(docket_name, server) as docket:
            await docket.add(by_shared if kind == "shared" else by_lifecycle)()
            await finish(docket)

    # The end of the loop does not wait for it either.
    asyncio.run(asyncio.wait_for(main(), 20))
    # One that was given up is collected without a loop; a warning of it would fail this test.
    gc.collect()

    [warning] = [r for r in caplog.records if "does not end" in r.getMessage()]
    assert warning.levelno == logging.WARNING
    assert ("hanging" if kind == "shared" else "Hanging") in warning.getMessage()
    assert f"in {ending.__name__}" in warning.getMessage()
    if ending is waits and kind == "shared":
        assert ended == ["opened before"]
    gives_up = any("given up" in r.getMessage() for r in caplog.records)
    assert gives_up == (ending is ignores_its_cancellation)


async def test_a_cancelled_caller_does_not_wait_for_an_end(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    is_ending = asyncio.Event()

    @asynccontextmanager
    async def hanging() -> AsyncGenerator[None]:
        yield
        is_ending.set()
        await waits()

    async def task(h: None = Shared(hanging)) -> None: ...

    await docket.add(task)()
    worker = await Worker(docket).__aenter__()
    await soon(worker.run_until_finished())
    leaving = asyncio.create_task(worker.__aexit__(None, None, None))
    await soon(is_ending.wait())
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(leaving)
    assert "hanging" in caplog.text


async def test_a_run_that_is_cancelled_while_a_value_is_made_leaves_it_to_the_next(
    docket: Docket,
) -> None:
    gate, made = Gate(), list[int]()

    async def slow() -> str:
        made.append(1)
        if len(made) == 1:
            await gate.pass_through()
        return "made"

    async def task(value: str = Shared(slow)) -> str:
        return value

    first = await docket.add(task, key="first")()
    async with at_work(Worker(docket)):
        await soon(gate.reached.wait())
        second = await docket.add(task)()
        await docket.cancel("first")
        assert await result_of(second) == "made"
        with pytest.raises(Exception, match="was cancelled"):
            await first.get_result()
    assert len(made) == 2


async def test_one_that_breaks_while_it_is_used_ends_all_and_they_are_made_again(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    breaks, broken = asyncio.Event(), asyncio.Event()

    async def child() -> None:
        await breaks.wait()
        raise LookupError("the child failed")

    @asynccontextmanager
    async def connection() -> AsyncGenerator[str]:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(child)
                yield "connection"
                tasks.cancel_scope.cancel()
        finally:
            broken.set()

    async def task(value: str = Shared(connection)) -> str:
        return value

    async with at_work(Worker(docket)):
        assert await result_of(await docket.add(task)()) == "connection"
        breaks.set()
        await soon(broken.wait())
        breaks.clear()
        assert await result_of(await docket.add(task)()) == "connection"
    assert "the child failed" in caplog.text


async def test_a_lifecycle_that_breaks_ends_the_run(docket: Docket) -> None:
    breaks = asyncio.Event()

    async def child() -> None:
        await breaks.wait()
        raise LookupError("the child failed")

    class Breaking(Dependency[None]):
        async def __aenter__(self) -> None: ...

        @classmethod
        @asynccontextmanager
        async def worker_lifecycle(cls, docket: Docket, worker: Worker) -> AsyncGenerator[None]:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(child)
                yield

    async def task(b: Any = Breaking()) -> None:
        breaks.set()

    await docket.add(task)()
    with pytest.raises(Exception, match="worker_lifecycle has ended before its worker"):
        await soon(Worker(docket).run_forever())


async def test_the_end_of_a_dependency_of_a_run_belongs_to_the_run(docket: Docket) -> None:
    @asynccontextmanager
    async def failing() -> AsyncGenerator[None]:
        yield
        raise LookupError("after the task")

    async def task(f: None = Depends(failing), g: Any = Depends(group)) -> None: ...

    execution = await docket.add(task)()
    await finish(docket)
    assert isinstance(await failure_of(execution), LookupError)
