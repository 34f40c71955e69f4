"""Tasks that are plain functions: called in a thread, and in all else tasks like any other."""

import asyncio
import contextvars
import functools
import inspect
import logging
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Annotated, Any

import pytest

from docket import (
    ConcurrencyLimit,
    CurrentDocket,
    CurrentExecution,
    Depends,
    Docket,
    Execution,
    ExecutionState,
    Perpetual,
    Progress,
    Retry,
    TaskKey,
    TaskLogger,
    Worker,
)
from docket.execution import ExecutionProgress
from docket.execution.plain_functions import is_plain
from tests.support.dockets import (
    ThreadGate,
    at_work,
    failure_of,
    finish,
    result_of,
)
from tests.support.store import until

pytestmark = pytest.mark.anyio

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="none")


@pytest.fixture
def gate() -> Generator[ThreadGate]:
    gate = ThreadGate()
    yield gate
    gate.opened.set()


# What is plain -----------------------------------------------------------------------------


def plain(n: int = 1) -> int:
    assert threading.current_thread() is not threading.main_thread()
    return n + 1


async def on_the_loop(n: int = 1) -> int:
    assert asyncio.get_running_loop()
    return n + 1


def handed_on(n: int = 1) -> Any:
    return on_the_loop(n)


@functools.wraps(on_the_loop)
def wrapped(*args: Any, **kwargs: Any) -> Any:
    assert asyncio.get_running_loop()
    return on_the_loop(*args, **kwargs)


def annotated(n: int = 1) -> Coroutine[Any, Any, int]:
    return on_the_loop(n)


def scheduled(n: int = 1) -> Awaitable[int]:
    return asyncio.ensure_future(on_the_loop(n))


class Plain:
    def __call__(self, n: int = 1) -> int:
        return plain(n)

    def method(self, n: int = 1) -> int:
        return plain(n)


class OnTheLoop:
    async def __call__(self, n: int = 1) -> int:
        return await on_the_loop(n)

    async def method(self, n: int = 1) -> int:
        return await on_the_loop(n)


PLAIN: dict[str, Callable[..., Any]] = {
    "function": plain,
    "lambda": lambda n=1: plain(n),
    "partial": functools.partial(plain, 1),
    "partial of a partial": functools.partial(functools.partial(plain), n=1),
    "object": Plain(),
    "partial of an object": functools.partial(Plain(), 1),
    "method": Plain().method,
    "unknown before the call": handed_on,
    "partial unknown before the call": functools.partial(handed_on, 1),
}
ON_THE_LOOP: dict[str, Callable[..., Any]] = {
    "coroutine function": on_the_loop,
    "partial": functools.partial(on_the_loop, 1),
    "object": OnTheLoop(),
    "partial of an object": functools.partial(OnTheLoop(), 1),
    "method": OnTheLoop().method,
    "decorated": wrapped,
    "partial of a decorated one": functools.partial(wrapped, 1),
    "annotated with a coroutine": annotated,
    "annotated with an awaitable": scheduled,
}


@pytest.mark.parametrize("kind", PLAIN)
async def test_a_call_that_may_block_is_made_in_a_thread(docket: Docket, kind: str) -> None:
    assert is_plain(PLAIN[kind])
    docket.register(PLAIN[kind], names=[kind])

    execution = await docket.add(kind)()
    await finish(docket)

    assert await result_of(execution) == 2


@pytest.mark.parametrize("kind", ON_THE_LOOP)
async def test_a_call_that_is_known_to_return_an_awaitable_is_made_on_the_loop(
    docket: Docket, kind: str
) -> None:
    assert not is_plain(ON_THE_LOOP[kind])
    docket.register(ON_THE_LOOP[kind], names=[kind])

    execution = await docket.add(kind)()
    await finish(docket)

    assert await result_of(execution) == 2


async def test_an_awaitable_that_only_the_call_shows_is_awaited_on_the_loop(
    docket: Docket,
) -> None:
    threads: list[threading.Thread] = []

    async def inner(thread: threading.Thread) -> None:
        threads.extend([thread, threading.current_thread()])

    def decorated() -> Any:
        return inner(threading.current_thread())

    await result_of_one(docket, decorated)

    assert threads[0] is not threading.current_thread()
    assert threads[1] is threading.current_thread()


async def result_of_one(docket: Docket, task: Callable[..., Any]) -> Any:
    execution = await docket.add(task)()
    await finish(docket)
    return await result_of(execution)


# A task like any other ---------------------------------------------------------------------


async def test_it_is_injected_and_its_context_is_carried_over(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "docket")
    closed: list[str] = []

    @contextmanager
    def connection() -> Generator[str]:
        request_id.set("seven")
        yield "connection"
        closed.append("connection")

    def task(
        n: int,
        key: str = TaskKey(),
        connected: str = Depends(connection),
        logger: logging.LoggerAdapter[logging.Logger] = TaskLogger(),
        execution: Execution = CurrentExecution(),
        here: Docket = CurrentDocket(),
    ) -> list[Any]:
        logger.info("in a thread")
        assert closed == []
        return [n, key, connected, execution.key, here.name, request_id.get()]

    execution = await docket.add(task, key="it")(5)
    await finish(docket)

    expected = [5, "it", "connection", "it", docket.name, "seven"]
    assert await result_of(execution) == expected
    assert closed == ["connection"]
    [record] = [each for each in caplog.records if each.getMessage() == "in a thread"]
    assert vars(record)["docket.key"] == "it"


async def test_it_schedules_tasks_without_await(docket: Docket) -> None:
    def parent(docket: Docket = CurrentDocket()) -> str:
        return docket.sync().add(plain, key="child")(5).key

    assert await result_of_one(docket, parent) == "child"
    child = await docket.get_execution("child")
    assert child is not None
    assert await result_of(child) == 6


async def test_it_is_retried_and_its_error_arrives(docket: Docket) -> None:
    attempts: list[int] = []

    def flaky(retry: Retry = Retry(attempts=3)) -> None:
        attempts.append(retry.attempt)
        raise ValueError(retry.attempt)

    execution = await docket.add(flaky)()
    await finish(docket)

    assert str(await failure_of(execution)) == "3"
    assert attempts == [1, 2, 3]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), StopIteration(1)])
async def test_whatever_it_raises_fails_it_and_nothing_else(
    docket: Docket, error: BaseException
) -> None:
    def rough() -> None:
        raise error

    execution = await docket.add(rough)()
    other = await docket.add(plain)()
    await finish(docket)

    await execution.sync()
    assert execution.state is ExecutionState.FAILED
    assert await result_of(other) == 2


async def test_it_perpetuates(docket: Docket) -> None:
    numbers: list[int] = []

    def chain(n: int = 0, perpetual: Perpetual = Perpetual()) -> None:
        numbers.append(n)
        perpetual.cancel() if n == 3 else perpetual.perpetuate(n + 1)

    await docket.add(chain, key="chain")()
    await finish(docket)

    assert numbers == [0, 1, 2, 3]


async def test_a_fallback_may_be_plain(docket: Docket) -> None:
    seen: list[tuple[Any, ...]] = []

    def fallback(*args: Any, execution: Execution = CurrentExecution(), **kwargs: Any) -> None:
        seen.append((execution.function_name, args, threading.current_thread()))

    docket.register(plain, names=["gone"])
    await docket.add("gone")(5)
    del docket.tasks["gone"]
    await finish(docket, fallback_task=fallback)

    [(name, args, thread)] = seen
    assert (name, args) == ("gone", (5,))
    assert thread is not threading.current_thread()


async def test_no_more_threads_than_slots_and_the_slots_of_its_limit(
    docket: Docket, gate: ThreadGate
) -> None:
    def limited(
        n: int, customer: Annotated[str, ConcurrencyLimit(max_concurrent=2)] = "one"
    ) -> None:
        gate.pass_through(n)

    for n in range(5):
        await docket.add(limited)(n, customer="one")
    async with Worker(docket, concurrency=4) as worker, at_work(worker):
        await until(lambda: gate.inside == 2)
        others = [await docket.add(gate.pass_through)(n) for n in range(6)]
        await until(lambda: gate.inside == 4)
        gate.opened.set()
        for other in others:
            await result_of(other)

    assert gate.most == 4


async def test_a_higher_concurrency_holds_for_threads_too(docket: Docket, gate: ThreadGate) -> None:
    for n in range(6):
        await docket.add(gate.pass_through)(n)
    async with Worker(docket, concurrency=1) as worker, at_work(worker):
        await until(lambda: gate.inside == 1)
        worker.set_concurrency(5)
        await until(lambda: gate.inside == 5)
        gate.opened.set()
        await until(lambda: len(gate.arrivals) == 6)

    assert gate.most == 5


async def test_the_loop_is_not_5_ms_late_beside_ten_that_sleep(docket: Docket) -> None:
    delays = await delays_beside_sleepers(docket)

    # The median: a busy machine holds up this process too.
    assert statistics.median(delays) < 0.005


@pytest.mark.full
async def test_the_loop_is_hardly_ever_5_ms_late_beside_ten_that_sleep(docket: Docket) -> None:
    delays = await delays_beside_sleepers(docket)

    assert statistics.quantiles(delays, n=50)[-1] < 0.005


async def delays_beside_sleepers(docket: Docket) -> list[float]:
    """Each delay of the loop, in seconds, while ten tasks sleep for a second."""
    begun: list[float] = []

    def sleeper() -> None:
        begun.append(time.monotonic())
        time.sleep(1)

    docket.register(sleeper)
    async with Worker(docket, concurrency=10) as worker, at_work(worker):
        executions = [await docket.add(sleeper)() for _ in range(10)]
        ended = asyncio.gather(*(result_of(each) for each in executions))
        delays: list[float] = []
        while not ended.done():
            before = time.perf_counter()
            await asyncio.sleep(0.002)
            delays.append(time.perf_counter() - before - 0.002)
    assert len(begun) == 10
    assert max(begun) - min(begun) < 1
    return delays


# Progress ----------------------------------------------------------------------------------


async def test_progress_needs_no_await_in_a_thread(docket: Docket) -> None:
    seen: list[Any] = []

    def task(progress: Progress = Progress()) -> None:
        progress.set_total(10)
        progress.increment(3)
        progress.increment()
        progress.set_message("in a thread")
        seen.append((progress.current, progress.total, progress.message))
        with pytest.raises(ValueError, match="at least 1"):
            progress.increment(0)

    await result_of_one(docket, task)

    assert seen == [(4, 10, "in a thread")]


async def test_progress_needs_no_await_in_a_thread_of_a_coroutine_either(docket: Docket) -> None:
    async def task(
        progress: Progress = Progress(), execution: Execution = CurrentExecution()
    ) -> list[Any]:
        await progress.set_total(5)
        # Taken on the loop, called in a thread.
        await asyncio.to_thread(progress.increment, 2)
        await asyncio.to_thread(execution.progress.increment)
        await asyncio.gather(asyncio.create_task(progress.increment()))
        return [progress.current, progress.total]

    assert await result_of_one(docket, task) == [4, 5]


async def test_what_a_report_returns_in_a_thread_may_be_awaited(docket: Docket) -> None:
    async def awaits(progress: ExecutionProgress) -> int:
        await progress.increment()
        reported = await asyncio.to_thread(progress.increment)
        await reported
        await asyncio.create_task(await asyncio.to_thread(progress.increment))
        return progress.current or 0

    async def task(execution: Execution = CurrentExecution()) -> int:
        return await awaits(execution.progress)

    assert await result_of_one(docket, task) == 3


@pytest.mark.parametrize("owner", [Progress, ExecutionProgress])
@pytest.mark.parametrize("name", ["set_total", "increment", "set_message"])
def test_on_their_class_the_reports_are_async_functions(owner: type, name: str) -> None:
    assert inspect.iscoroutinefunction(getattr(owner, name))


# The cost ------------------------------------------------------------------------------------

ASYNC_ONLY = """
import asyncio, sys
from docket import Docket, Worker

async def task(): ...
def plain(): ...

async def main(url, name):
    async with Docket(name, url) as docket, Worker(docket) as worker:
        await docket.add(task)()
        await worker.run_until_finished()
        assert "anyio" not in sys.modules
        await docket.add(plain)()
        await worker.run_until_finished()
        assert "anyio" in sys.modules

asyncio.run(main(*sys.argv[1:]))
"""


def test_only_a_worker_that_has_such_a_task_imports_anyio(server: str, docket_name: str) -> None:
    subprocess.run([sys.executable, "-c", ASYNC_ONLY, server, docket_name], check=True)
