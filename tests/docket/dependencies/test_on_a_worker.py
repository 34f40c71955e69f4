"""Dependencies on a real worker and a real server."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import pytest

from docket import (
    CurrentDocket,
    CurrentExecution,
    CurrentWorker,
    Depends,
    Docket,
    Execution,
    ExecutionState,
    ExponentialRetry,
    Logged,
    Progress,
    Retry,
    TaskArgument,
    TaskKey,
    TaskLogger,
    Timeout,
    Worker,
    tasks,
)
from docket.dependencies import ForcedRetry, current_execution

pytestmark = pytest.mark.anyio

PATIENCE = timedelta(seconds=20)
MOMENT = timedelta(milliseconds=20)


@pytest.fixture
async def docket(server: str, docket_name: str) -> AsyncIterator[Docket]:
    async with Docket(name=docket_name, url=server) as docket:
        yield docket


async def outcome(docket: Docket, execution: Execution) -> Any:
    """What the execution ends with, once a worker has done all there is."""
    async with Worker(docket, name="the-worker") as worker:
        await worker.run_until_finished()
    return await execution.get_result(timeout=PATIENCE)


async def test_a_task_is_retried_until_it_succeeds(docket: Docket) -> None:
    attempts: list[int] = []

    async def task(retry: Retry = Retry(attempts=3, delay=MOMENT)) -> str:
        attempts.append(retry.attempt)
        if retry.attempt < 3:
            raise ValueError("not yet")
        return "done"

    execution = await docket.add(task)()

    assert await outcome(docket, execution) == "done"
    assert attempts == [1, 2, 3]


async def test_a_task_that_uses_up_its_attempts_fails_with_its_last_error(docket: Docket) -> None:
    attempts: list[int] = []

    async def task(
        retry: ExponentialRetry = ExponentialRetry(attempts=2, minimum_delay=MOMENT),
    ) -> None:
        attempts.append(retry.attempt)
        raise ValueError(f"attempt {retry.attempt}")

    execution = await docket.add(task)()

    with pytest.raises(ValueError, match="attempt 2"):
        await outcome(docket, execution)
    assert attempts == [1, 2]
    await execution.sync()
    assert execution.state is ExecutionState.FAILED


async def test_a_retry_waits_for_its_delay(docket: Docket) -> None:
    started: list[float] = []
    delay = timedelta(milliseconds=300)

    async def task(retry: Retry = Retry(attempts=2, delay=delay)) -> None:
        started.append(asyncio.get_running_loop().time())
        if retry.attempt == 1:
            raise ValueError

    await outcome(docket, await docket.add(task)())

    assert started[1] - started[0] >= 0.3


async def test_a_task_may_force_its_retry(docket: Docket) -> None:
    seen: list[int] = []

    async def task(retry: Retry = Retry.forever(timedelta(hours=1))) -> str:
        seen.append(retry.attempt)
        if retry.attempt == 1:
            retry.in_(MOMENT)
        if retry.attempt == 2:
            retry.after(MOMENT)
        if retry.attempt == 3:
            retry.at(datetime.now(UTC) + MOMENT)
        return "done"

    assert await outcome(docket, await docket.add(task)()) == "done"
    assert seen == [1, 2, 3, 4]


async def test_a_forced_retry_with_no_attempt_left_is_the_failure(docket: Docket) -> None:
    async def task(retry: Retry = Retry()) -> None:
        retry.in_(MOMENT)

    with pytest.raises(ForcedRetry, match=r"^$"):
        await outcome(docket, await docket.add(task)())


async def test_resources_are_opened_before_the_task_and_closed_after_it(docket: Docket) -> None:
    events: list[str] = []

    @asynccontextmanager
    async def connection(name: str = TaskArgument()) -> AsyncIterator[str]:
        events.append(f"open {name}")
        yield f"connection to {name}"
        events.append(f"close {name}")

    async def service(c: str = Depends(connection)) -> str:
        return f"service on {c}"

    async def task(name: str, s: str = Depends(service), c: str = Depends(connection)) -> str:
        events.append("task")
        return f"{s}, {c}"

    execution = await docket.add(task)("db")

    assert await outcome(docket, execution) == "service on connection to db, connection to db"
    assert events == ["open db", "task", "close db"]


async def test_failed_dependencies_fail_the_task_which_was_not_called(docket: Docket) -> None:
    called: list[str] = []

    def broken() -> None:
        raise ValueError("no database")

    async def task(a: None = Depends(broken), b: str = TaskArgument("missing")) -> None:
        called.append("task")

    execution = await docket.add(task)()

    with pytest.raises(ExceptionGroup) as caught:
        await outcome(docket, execution)
    assert caught.value.message == "Failed to resolve dependencies for parameter(s): a, b"
    assert [type(e).__name__ for e in caught.value.exceptions] == ["ValueError", "KeyError"]
    assert called == []


async def test_failed_dependencies_are_retried(docket: Docket) -> None:
    calls: list[int] = []

    def flaky() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionError
        return "ready"

    async def task(
        f: str = Depends(flaky), retry: Retry = Retry(attempts=3, delay=MOMENT)
    ) -> tuple[str, int]:
        return f, retry.attempt

    assert await outcome(docket, await docket.add(task)()) == ("ready", 3)


async def test_a_task_knows_where_it_runs_and_schedules_more(docket: Docket) -> None:
    async def child(parent: str) -> str:
        return f"child of {parent}"

    async def task(
        key: str = TaskKey(),
        own: Docket = CurrentDocket(),
        worker: Worker = CurrentWorker(),
        execution: Execution = CurrentExecution(),
    ) -> tuple[Any, ...]:
        await own.add(child, key="child")(key)
        return worker.name, execution.key, execution.function_name, current_execution.get().key

    execution = await docket.add(task, key="parent")()

    assert await outcome(docket, execution) == ("the-worker", "parent", "task", "parent")
    child_execution = await docket.get_execution("child")
    assert child_execution is not None
    assert await child_execution.get_result(timeout=PATIENCE) == "child of parent"


async def test_progress_is_seen_from_outside(docket: Docket) -> None:
    reported = asyncio.Event()
    seen = asyncio.Event()

    async def task(progress: Progress = Progress()) -> tuple[Any, ...]:
        await progress.set_total(10)
        await progress.increment()
        await progress.increment(3)
        await progress.set_message("nearly")
        reported.set()
        await seen.wait()
        return progress.current, progress.total, progress.message

    execution = await docket.add(task)()

    async with asyncio.TaskGroup() as group:
        done = group.create_task(outcome(docket, execution))
        await reported.wait()
        other = await docket.get_execution(execution.key)
        assert other is not None
        assert (other.progress.current, other.progress.total) == (4, 10)
        assert other.progress.message == "nearly"
        seen.set()

    assert done.result() == (4, 10, "nearly")


async def test_a_task_that_runs_too_long_is_stopped_and_retried(docket: Docket) -> None:
    async def task(timeout: Timeout = Timeout(MOMENT), retry: Retry = Retry(attempts=2)) -> str:
        if retry.attempt == 1:
            await asyncio.Event().wait()
        return "in time"

    assert await outcome(docket, await docket.add(task)()) == "in time"


async def test_a_task_that_runs_too_long_fails_with_a_timeout_error(docket: Docket) -> None:
    async def task(timeout: Timeout = Timeout(MOMENT)) -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError, match=r"exceeded timeout of 0\.02s"):
        await outcome(docket, await docket.add(task)())


async def test_a_dependency_that_swallows_the_error_ends_the_task_without_a_result(
    docket: Docket,
) -> None:
    @asynccontextmanager
    async def tolerant() -> AsyncIterator[None]:
        try:
            yield
        except ValueError:
            return

    async def task(t: None = Depends(tolerant)) -> str:
        raise ValueError

    assert await outcome(docket, await docket.add(task)()) is None


async def test_an_annotated_dependency_is_resolved(docket: Docket) -> None:
    def load(number: int = TaskArgument()) -> int:
        return 10 * number

    async def task(number: int, loaded: Annotated[int, Depends(load)] = 0) -> int:
        return loaded

    assert await outcome(docket, await docket.add(task)(4)) == 40


async def test_what_the_caller_passes_for_a_dependency_counts(docket: Docket) -> None:
    def never() -> str:
        raise AssertionError

    async def task(number: int, loaded: str = Depends(never)) -> str:
        return loaded

    assert await outcome(docket, await docket.add(task)(1, loaded="passed")) == "passed"


async def test_the_log_shows_what_is_logged_and_the_task_logs_as_itself(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    async def the_task(a: Annotated[int, Logged], secret: str, log: Any = TaskLogger()) -> None:
        log.info("here")

    with caplog.at_level(logging.INFO):
        await outcome(docket, await docket.add(the_task, key="k")(1, "hidden"))

    [own] = [r for r in caplog.records if r.name == "docket.task.the_task"]
    assert (own.__dict__["docket.key"], own.__dict__["docket.worker"]) == ("k", "the-worker")
    assert "the_task(1, ...)" in caplog.text
    assert "hidden" not in caplog.text


async def test_the_standard_tasks_run(docket: Docket, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        traced = await docket.add(tasks.trace)("Howdy!")
        failed = await docket.add(tasks.fail)("Oh no!")
        slept = await docket.add(tasks.sleep)(0.01)
        await outcome(docket, traced)

    assert f"Howdy!: {traced.key!r} added to docket {docket.name!r} 0:00:0" in caplog.text
    assert await slept.get_result(timeout=PATIENCE) is None
    with pytest.raises(Exception, match="Oh no!"):
        await failed.get_result(timeout=PATIENCE)
