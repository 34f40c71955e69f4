"""A task knows where it runs, logs it, and reports its progress."""

import logging
from typing import Any

import pytest

from docket.dependencies import (
    CurrentDocket,
    CurrentExecution,
    CurrentWorker,
    Depends,
    Progress,
    TaskKey,
    TaskLogger,
    current_docket,
    current_execution,
    current_worker,
)
from tests.support.runs import DOCKET, WORKER, Run, call, execute

pytestmark = pytest.mark.anyio


async def test_a_task_sees_its_docket_worker_execution_and_key() -> None:
    async def task(
        docket: Any = CurrentDocket(),
        worker: Any = CurrentWorker(),
        execution: Any = CurrentExecution(),
        key: str = TaskKey(),
    ) -> tuple[Any, ...]:
        return docket, worker, execution, key

    run = Run(task, key="k-1")

    docket, worker, execution, key = await execute(run)

    assert (docket, worker, key) == (DOCKET, WORKER, "k-1")
    assert execution is run


@pytest.mark.statement(20)
async def test_the_task_logger_says_where_it_logs_from(caplog: pytest.LogCaptureFixture) -> None:
    async def the_task(log: Any = TaskLogger()) -> None:
        log.warning("one of %s", 2, extra={"own": "kept"})

    with caplog.at_level(logging.INFO):
        await execute(run := Run(the_task, attempt=3))

    [record] = caplog.records
    assert (record.name, record.getMessage()) == ("docket.task.the_task", "one of 2")
    expected = {
        "docket.name": "the-docket",
        "docket.worker": "the-worker",
        "docket.task": "the_task",
        "docket.key": "the-key",
        "docket.when": run.when.isoformat(),
        "docket.attempt": 3,
        "own": "kept",
    }
    assert {name: record.__dict__[name] for name in expected} == expected


async def test_progress_reports_for_the_execution_that_runs() -> None:
    async def task(progress: Progress = Progress()) -> tuple[object, ...]:
        before = progress.current, progress.total, progress.message, progress.updated_at
        await progress.set_total(3)
        await progress.increment()
        await progress.increment(2)
        await progress.set_message("done")
        return before

    run = Run(task)

    assert await execute(run) == (None, 100, None, None)
    assert (run.progress.total, run.progress.current, run.progress.message) == (3, 3, "done")


async def test_progress_outside_a_task_says_so() -> None:
    with pytest.raises(RuntimeError, match="belongs to no execution"):
        await Progress().increment()


async def test_the_context_is_set_while_the_task_runs_and_as_it_was_afterwards() -> None:
    async def task(key: str = TaskKey()) -> tuple[Any, ...]:
        return current_docket.get(), current_worker.get(), current_execution.get()

    run = Run(task)

    assert await execute(run) == (DOCKET, WORKER, run)
    for variable in current_docket, current_worker, current_execution:
        assert variable.get(None) is None


async def test_the_context_is_as_it_was_after_a_failed_resolution() -> None:
    def broken() -> None:
        raise ValueError

    async def task(b: None = Depends(broken)) -> None: ...

    with pytest.raises(ExceptionGroup):
        await call(task)
    assert current_execution.get(None) is None
