"""What tasks can ask for, given to them by a real worker: retries, arguments, loggers, progress."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

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
    Progress,
    Retry,
    TaskArgument,
    TaskKey,
    TaskLogger,
    Timeout,
    Worker,
)
from tests.support.dockets import Gate, at_work, failure_of, finish, found, result_of, soon

pytestmark = pytest.mark.anyio


async def test_a_task_is_retried_until_it_succeeds_and_knows_its_attempt(docket: Docket) -> None:
    seen: list[tuple[int, int]] = []

    async def flaky(
        retry: Retry = Retry(attempts=5), execution: Execution = CurrentExecution()
    ) -> str:
        seen.append((retry.attempt, execution.attempt))
        if retry.attempt < 3:
            raise ValueError(retry.attempt)
        return "at last"

    execution = await docket.add(flaky)()
    worker = await finish(docket)

    assert await result_of(execution) == "at last"
    assert seen == [(1, 1), (2, 2), (3, 3)]
    assert execution.attempt == 3
    assert (worker.counters.retried, worker.counters.succeeded) == (2, 1)


async def test_the_attempts_are_the_total_and_the_last_error_is_the_one_told(
    docket: Docket,
) -> None:
    async def hopeless(retry: Retry = Retry(attempts=3)) -> None:
        raise ValueError(f"attempt {retry.attempt}")

    execution = await docket.add(hopeless)()
    worker = await finish(docket)

    assert repr(await failure_of(execution)) == "ValueError('attempt 3')"
    assert (worker.counters.retried, worker.counters.failed) == (2, 3)


async def test_a_retry_waits_for_its_delay_in_the_queue_with_its_key_taken(docket: Docket) -> None:
    delay = timedelta(milliseconds=60)
    starts: list[datetime] = []

    async def flaky(
        retry: Retry = Retry(attempts=2, delay=delay), execution: Execution = CurrentExecution()
    ) -> None:
        assert execution.started_at is not None
        starts.append(execution.started_at)
        if retry.attempt == 1:
            raise ValueError

    execution = await docket.add(flaky, key="key")()
    waiting = asyncio.create_task(execution.get_result())
    await finish(docket)

    await soon(waiting)
    assert starts[1] - starts[0] >= delay


async def test_a_delayed_retry_is_scheduled_and_can_be_cancelled(docket: Docket) -> None:
    async def flaky(retry: Retry = Retry(attempts=2, delay=timedelta(hours=1))) -> None:
        raise ValueError

    async with Worker(docket) as worker, at_work(worker):
        execution = await docket.add(flaky, key="key")()
        while (await found(docket, "key")).state is not ExecutionState.SCHEDULED:
            pass
        waits = await found(docket, "key")
        assert waits.attempt == 2
        assert waits.worker is None
        assert timedelta(minutes=59) < waits.when - datetime.now(UTC) <= timedelta(minutes=61)

        await docket.cancel("key")

    await execution.sync()
    assert execution.state is ExecutionState.CANCELLED


async def test_exponential_and_forced_retries_come_back_as_well(docket: Docket) -> None:
    async def forced(
        retry: ExponentialRetry = ExponentialRetry(
            attempts=None, minimum_delay=timedelta(milliseconds=1)
        ),
    ) -> int:
        if retry.attempt == 1:
            raise ValueError
        if retry.attempt == 2:
            retry.in_(timedelta(milliseconds=1))
        return retry.attempt

    execution = await docket.add(forced)()
    await finish(docket)

    assert await result_of(execution) == 3


async def test_a_task_that_runs_too_long_fails_and_is_retried(docket: Docket) -> None:
    async def slow(
        retry: Retry = Retry(attempts=2),
        timeout: Timeout = Timeout(timedelta(milliseconds=20)),
    ) -> int:
        if retry.attempt == 1:
            await asyncio.sleep(3600)
        return retry.attempt

    execution = await docket.add(slow)()
    await finish(docket)

    assert await result_of(execution) == 2


async def test_a_task_is_given_where_it_runs(docket: Docket) -> None:
    async def where(
        key: str = TaskKey(),
        docket: Docket = CurrentDocket(),
        worker: Worker = CurrentWorker(),
        execution: Execution = CurrentExecution(),
    ) -> tuple[Any, ...]:
        return key, docket.name, worker.name, execution.key, execution.state, execution.worker

    execution = await docket.add(where, key="key")()
    await finish(docket, name="w")

    assert await result_of(execution) == (
        "key",
        docket.name,
        "w",
        "key",
        ExecutionState.RUNNING,
        "w",
    )


@pytest.mark.statement(20)
async def test_the_logger_of_a_task_says_where_it_runs(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    async def speaks(
        logger: "logging.LoggerAdapter[logging.Logger]" = TaskLogger(),
        retry: Retry = Retry(attempts=2),
    ) -> None:
        logger.warning("hello from %d", retry.attempt)
        if retry.attempt == 1:
            raise ValueError

    await docket.add(speaks, key="key")()
    await finish(docket, name="w")

    records = [r.__dict__ for r in caplog.records if r.name == "docket.task.speaks"]
    assert [record["message"] for record in records] == ["hello from 1", "hello from 2"]
    assert [record["docket.attempt"] for record in records] == [1, 2]
    names = ("docket.name", "docket.worker", "docket.task", "docket.key")
    for record in records:
        assert [record[name] for name in names] == [docket.name, "w", "speaks", "key"]
        assert datetime.fromisoformat(record["docket.when"]).tzinfo is not None


async def test_dependencies_of_every_kind_are_nested_cached_and_closed_in_reverse(
    docket: Docket,
) -> None:
    steps: list[str] = []

    def base() -> str:
        steps.append("base")
        return "base"

    async def user(user_id: int = TaskArgument(), base: str = Depends(base)) -> str:
        return f"{base}/{user_id}"

    @contextmanager
    def opened(base: str = Depends(base)) -> Generator[str]:
        steps.append("open")
        yield f"{base}/file"
        steps.append("closed")

    @asynccontextmanager
    async def session(opened: str = Depends(opened)) -> AsyncGenerator[str]:
        steps.append("begin")
        yield f"{opened}/session"
        steps.append("committed")

    async def task(
        user_id: int,
        user: str = Depends(user),
        session: str = Depends(session),
        opened: str = Depends(opened),
    ) -> list[str]:
        steps.append("task")
        return [user, session, opened]

    execution = await docket.add(task)(7)
    await finish(docket)

    assert await result_of(execution) == ["base/7", "base/file/session", "base/file"]
    assert steps == ["base", "open", "begin", "task", "committed", "closed"]


async def test_dependencies_that_fail_fail_the_task_with_all_their_causes(docket: Docket) -> None:
    async def broken() -> str:
        raise LookupError("service unavailable")

    def also_broken() -> str:
        raise OSError("no disk")

    async def task(a: str = Depends(broken), b: str = Depends(also_broken)) -> None: ...

    execution = await docket.add(task)()
    await finish(docket)

    failure = await failure_of(execution)
    assert type(failure) is ExceptionGroup
    assert failure.message == "Failed to resolve dependencies for parameter(s): a, b"
    assert [type(cause) for cause in failure.exceptions] == [LookupError, OSError]


async def test_a_context_manager_that_swallows_the_tasks_error_ends_it_without_a_result(
    docket: Docket,
) -> None:
    @contextmanager
    def forgiving() -> Generator[None]:
        try:
            yield
        except ValueError:
            return

    async def task(scope: None = Depends(forgiving)) -> int:
        raise ValueError

    execution = await docket.add(task)()
    await finish(docket)

    assert await result_of(execution) is None


async def test_progress_is_seen_from_outside_while_the_task_runs(docket: Docket) -> None:
    gate = Gate()

    async def works(progress: Progress = Progress()) -> None:
        await progress.set_total(10)
        await asyncio.gather(*[progress.increment() for _ in range(3)])
        await progress.increment(2)
        await progress.set_message("half way")
        assert (progress.current, progress.total, progress.message) == (5, 10, "half way")
        await gate.pass_through()
        await progress.set_message(None)

    async with Worker(docket) as worker, at_work(worker):
        execution = await docket.add(works, key="key")()
        assert (execution.progress.current, execution.progress.total) == (None, 100)
        await soon(gate.reached.wait())

        await execution.progress.sync()
        shown = (await found(docket, "key")).progress
        for progress in (execution.progress, shown):
            assert (progress.current, progress.total, progress.message) == (5, 10, "half way")
            assert progress.updated_at is not None
            assert abs(datetime.now(UTC) - progress.updated_at) < timedelta(seconds=20)
        gate.opened.set()
        await result_of(execution)
        assert (execution.progress.current, execution.progress.message) == (None, None)


@pytest.mark.parametrize("amount", [0, -1])
async def test_progress_only_goes_on(docket: Docket, amount: int) -> None:
    execution = await docket.add(found, key="key")(docket=None, key="")  # type: ignore[arg-type]

    with pytest.raises(ValueError, match=r"^Total must be at least 1$"):
        await execution.progress.set_total(amount)
    with pytest.raises(ValueError, match=r"^Amount must be at least 1$"):
        await execution.progress.increment(amount)


async def test_a_run_that_was_replaced_reports_its_progress_to_nobody(docket: Docket) -> None:
    gates = {"old": Gate(), "new": Gate()}

    async def works(which: str, progress: Progress = Progress()) -> int | None:
        await progress.set_message(which)
        await gates[which].pass_through()
        await progress.increment(5)
        return progress.current

    async with Worker(docket) as worker, at_work(worker):
        await docket.add(works, key="key")("old")
        await soon(gates["old"].reached.wait())
        await docket.replace(works, datetime.now(UTC), "key")("new")
        await soon(gates["new"].reached.wait())

        gates["old"].opened.set()
        await result_of(await docket.add(nothing)())
        shown = (await found(docket, "key")).progress

        assert (shown.current, shown.message) == (0, "new")
        gates["new"].opened.set()
        assert await result_of(await found(docket, "key")) == 5


async def nothing() -> None: ...
