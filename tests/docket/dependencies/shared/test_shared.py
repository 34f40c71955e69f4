"""`Shared`: made once a worker, for all its tasks, and closed with it."""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

import pytest

from docket import (
    CurrentWorker,
    CycleError,
    Depends,
    Docket,
    Perpetual,
    Retry,
    Shared,
    TaskArgument,
    Timeout,
    Worker,
)
from docket.dependencies import SharedContext, compile_plan
from tests.support.dockets import Gate, at_work, failure_of, finish, result_of, soon
from tests.support.store import until

pytestmark = pytest.mark.anyio


class Pools:
    """Counts what is opened and closed."""

    def __init__(self) -> None:
        self.events: list[str] = []

    @asynccontextmanager
    async def pool(self, worker: Worker = CurrentWorker()) -> AsyncGenerator[str]:
        self.events.append("open")
        yield f"pool of {worker.name}"
        self.events.append("close")


@pytest.fixture
def pools() -> Pools:
    return Pools()


async def test_it_is_made_once_for_all_tasks_of_a_worker(docket: Docket, pools: Pools) -> None:
    async def task(pool: Any = Shared(pools.pool)) -> str:
        return pool

    async def another(pool: Any = Shared(pools.pool)) -> str:
        return pool

    executions = [await docket.add(t)() for t in (task, task, another)]
    async with Worker(docket, name="w") as worker:
        await soon(worker.run_until_finished())
        assert pools.events == ["open"]
    assert pools.events == ["open", "close"]
    assert [await result_of(e) for e in executions] == ["pool of w"] * 3


async def test_tasks_that_ask_at_the_same_time_wait_for_the_first(docket: Docket) -> None:
    gate = Gate()
    made: list[int] = []

    async def model() -> int:
        await gate.pass_through()
        made.append(1)
        return len(made)

    async def task(model: int = Shared(model)) -> int:
        return model

    executions = [await docket.add(task)() for _ in range(5)]
    async with at_work(Worker(docket)) as worker:
        await soon(gate.reached.wait())
        await until(lambda: len(worker.running_tasks()) == 5)
        gate.opened.set()
        assert [await result_of(e) for e in executions] == [1] * 5
    assert len(gate.arrivals) == 1


async def test_each_worker_has_its_own(docket: Docket, pools: Pools) -> None:
    async def task(pool: Any = Shared(pools.pool)) -> str:
        return pool

    for name in ("one", "two"):
        execution = await docket.add(task)()
        await finish(docket, name=name)
        assert await result_of(execution) == f"pool of {name}"
    assert pools.events == ["open", "close"] * 2


async def test_a_worker_that_runs_twice_keeps_it_between(docket: Docket, pools: Pools) -> None:
    async def task(pool: Any = Shared(pools.pool)) -> None: ...

    async with Worker(docket) as worker:
        for _ in range(2):
            await docket.add(task)()
            await soon(worker.run_until_finished())
        assert pools.events == ["open"]
    assert pools.events == ["open", "close"]


async def test_a_worker_that_is_no_context_manager_closes_it_after_the_run(
    docket: Docket, pools: Pools
) -> None:
    async def task(pool: Any = Shared(pools.pool)) -> None: ...

    await docket.add(task)()
    await soon(Worker(docket).run_until_finished())
    assert pools.events == ["open", "close"]


async def test_what_it_depends_on_lives_as_long_and_is_closed_after_it(docket: Docket) -> None:
    events: list[str] = []

    @contextmanager
    def connection() -> Generator[str]:
        events.append("open connection")
        yield "connection"
        events.append("close connection")

    @asynccontextmanager
    async def pool() -> AsyncGenerator[str]:
        events.append("open pool")
        yield "pool"
        events.append("close pool")

    @asynccontextmanager
    async def service(c: str = Depends(connection), p: str = Shared(pool)) -> AsyncGenerator[str]:
        events.append("open service")
        yield f"{c}, {p}"
        events.append("close service")

    async def task(s: str = Shared(service)) -> str:
        events.append("task")
        return s

    first, second = await docket.add(task)(), await docket.add(task)()
    await finish(docket, concurrency=1)

    assert [await result_of(e) for e in (first, second)] == ["connection, pool"] * 2
    opened = ["open pool", "open connection", "open service"]
    closed = ["close service", "close connection", "close pool"]
    assert events == [*opened, "task", "task", *closed]


async def test_a_dependency_of_a_run_may_use_it(docket: Docket, pools: Pools) -> None:
    def session(pool: str = Shared(pools.pool)) -> str:
        return f"session on {pool}"

    async def task(session: str = Depends(session), pool: str = Shared(pools.pool)) -> str:
        return session

    execution = await docket.add(task)()
    await finish(docket, name="w")

    assert await result_of(execution) == "session on pool of w"
    assert pools.events == ["open", "close"]


async def test_a_failure_is_that_tasks_alone_and_the_next_one_tries_again(
    docket: Docket,
) -> None:
    events: list[str] = []

    @contextmanager
    def connection() -> Generator[None]:
        events.append("open")
        try:
            yield
        finally:
            events.append("close")

    def flaky(c: None = Depends(connection)) -> str:
        events.append("made")
        if events.count("made") == 1:
            raise ValueError("not yet")
        return "made"

    async def task(value: str = Shared(flaky)) -> str:
        return value

    first, second = await docket.add(task)(), await docket.add(task)()
    await finish(docket, concurrency=1)

    error = await failure_of(first)
    assert type(error) is ExceptionGroup
    assert str(error).startswith("Failed to resolve dependencies for parameter(s): value")
    assert [type(e) for e in error.exceptions] == [ValueError]
    assert await result_of(second) == "made"
    assert events == ["open", "made", "close", "open", "made", "close"]


async def test_several_failures_behind_it_are_told_together(docket: Docket) -> None:
    def broken() -> None:
        raise ValueError("one")

    def wrong() -> None:
        raise LookupError("two")

    def pool(a: None = Depends(broken), b: None = Depends(wrong)) -> None: ...

    async def task(value: None = Shared(pool)) -> None: ...

    execution = await docket.add(task)()
    await finish(docket)

    error = await failure_of(execution)
    assert type(error) is ExceptionGroup
    assert error.subgroup(ValueError) is not None
    assert error.subgroup(LookupError) is not None


@pytest.mark.parametrize("kind", ["argument", "retry", "timeout", "perpetual"])
def test_it_cannot_need_what_belongs_to_one_run(kind: str) -> None:
    needed: Any = {
        "argument": TaskArgument(),
        "retry": Retry(),
        "timeout": Timeout(timedelta(days=1)),
        "perpetual": Perpetual(),
    }[kind]

    def factory(a: Any = needed) -> None: ...

    async def task(a: int, shared: None = Shared(factory)) -> None: ...

    with pytest.raises(ValueError, match=r"Shared\(factory\) of 'task' is made once a worker"):
        Docket().register(task)


def test_one_that_needs_itself_is_a_cycle() -> None:
    def first(value: None = None) -> None: ...

    def second(value: None = Shared(first)) -> None: ...

    first.__defaults__ = (Shared(second),)

    async def task(value: None = Shared(first)) -> None: ...

    with pytest.raises(CycleError, match=r"Shared\(first\) -> .*Shared\(second\) -> .*Shared"):
        compile_plan(task)


async def test_a_context_can_be_used_by_itself() -> None:
    async with SharedContext() as context:
        await context.close()
