"""Handlers and runtimes of users, in the shapes that the documents give them."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from docket import Docket, Execution, ExecutionState, Perpetual, Retry, Timeout
from docket.dependencies import (
    CompletionHandler,
    Depends,
    DuplicateDependency,
    FailureHandler,
    Runtime,
    TaskOutcome,
)
from tests.support.dockets import failure_of, finish, found, result_of

pytestmark = pytest.mark.anyio


class Tracing(Runtime[Any]):
    """Runs the task itself, and shows what it was asked to run."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    async def __aenter__(self) -> Any:
        return self

    async def run(
        self,
        execution: Execution,
        function: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        self.calls.append((execution.key, args, {k: v for k, v in kwargs.items() if v != self}))
        return ["wrapped", await function(*args, **kwargs)]


class Handler(FailureHandler[Any]):
    def __init__(self, answer: bool) -> None:
        self.answer = answer
        self.heard: list[TaskOutcome] = []

    async def __aenter__(self) -> Any:
        return self

    async def handle_failure(self, execution: Execution, outcome: TaskOutcome) -> bool:
        self.heard.append(outcome)
        return self.answer


class Completion(CompletionHandler[Any]):
    def __init__(self, answer: bool = True) -> None:
        self.answer = answer
        self.heard: list[TaskOutcome] = []

    async def __aenter__(self) -> Any:
        return "something else"

    async def on_complete(self, execution: Execution, outcome: TaskOutcome) -> bool:
        self.heard.append(outcome)
        return self.answer


async def test_a_runtime_makes_the_call_with_resolved_dependencies(docket: Docket) -> None:
    tracing = Tracing()

    async def task(a: int, b: int = Depends(lambda: 5), runtime: Any = tracing) -> int:
        return a + b

    execution = await docket.add(task, key="k")(1)
    await finish(docket)

    assert await result_of(execution) == ["wrapped", 6]
    assert tracing.calls == [("k", (1,), {"b": 5})]


def test_a_task_has_one_runtime() -> None:
    async def task(a: Any = Tracing(), b: Timeout = Timeout(timedelta(seconds=1))) -> None: ...

    with pytest.raises(DuplicateDependency, match="Only one Runtime dependency"):
        Docket().register(task)


async def test_a_timeout_run_by_hand_only_calls() -> None:
    async def task(a: int) -> int:
        return a

    execution = Execution(Docket(), task, (1,), {}, "k", datetime.now(UTC), 1)
    assert await Timeout(timedelta(seconds=1)).run(execution, task, (1,), {}) == 1


async def test_a_failure_that_is_not_handled_stands(docket: Docket) -> None:
    handler, completion = Handler(False), Completion()

    async def task(h: Any = handler, c: Any = completion) -> None:
        raise ValueError("stands")

    execution = await docket.add(task)()
    await finish(docket)

    assert isinstance(await failure_of(execution), ValueError)
    assert [type(o.exception) for o in handler.heard] == [ValueError]
    # For good, so that the end of the run is heard of too.
    assert [type(o.exception) for o in completion.heard] == [ValueError]
    assert handler.heard[0].duration >= timedelta(0)
    assert handler.heard[0].result is None


async def test_a_failure_that_is_handled_is_no_error_of_the_log(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    completion = Completion()

    async def task(h: Any = Handler(True), c: Any = completion) -> None:
        raise ValueError("handled")

    await docket.add(task, key="k")()
    await finish(docket)

    assert (await found(docket, "k")).state is ExecutionState.FAILED
    assert completion.heard == []
    assert not [r for r in caplog.records if r.levelname == "ERROR" or "↩" in r.getMessage()]


async def test_a_failure_handler_may_replace_the_execution_itself(docket: Docket) -> None:
    class Reschedules(Handler):
        async def handle_failure(self, execution: Execution, outcome: TaskOutcome) -> bool:
            await execution.docket.replace(execution.function, datetime.now(UTC), execution.key)(
                execution.args[0] + 1
            )
            return True

    seen: list[int] = []

    async def task(n: int, h: Any = Reschedules(True)) -> str:
        seen.append(n)
        if n < 3:
            raise ValueError
        return "done"

    execution = await docket.add(task, key="k")(1)
    worker = await finish(docket)

    assert seen == [1, 2, 3]
    assert worker.counters.superseded == 2
    await execution.sync()
    assert await execution.get_result() == "done"


async def test_a_completion_handler_hears_of_the_result(docket: Docket) -> None:
    completion = Completion(False)

    async def task(word: Any = completion) -> str:
        return f"got {word}"

    execution = await docket.add(task)()
    await finish(docket)

    assert await result_of(execution) == "got something else"
    assert [(o.result, o.exception) for o in completion.heard] == [("got something else", None)]


async def test_a_completion_handler_that_fails_fails_the_task(docket: Docket) -> None:
    class Broken(Completion):
        async def on_complete(self, execution: Execution, outcome: TaskOutcome) -> bool:
            raise LookupError("of the handler")

    async def task(c: Any = Broken()) -> None: ...

    execution = await docket.add(task)()
    await finish(docket)

    assert isinstance(await failure_of(execution), LookupError)


async def test_a_subclass_of_retry_may_pick_the_errors_it_retries(docket: Docket) -> None:
    class OnlyValueErrors(Retry):
        async def handle_failure(self, execution: Execution, outcome: TaskOutcome) -> bool:
            if not isinstance(outcome.exception, ValueError):
                return False
            return await super().handle_failure(execution, outcome)

    attempts: list[int] = []

    async def task(retry: Retry = OnlyValueErrors(attempts=5)) -> None:
        attempts.append(retry.attempt)
        raise ValueError if retry.attempt < 3 else LookupError

    execution = await docket.add(task)()
    await finish(docket)

    assert attempts == [1, 2, 3]
    assert isinstance(await failure_of(execution), LookupError)


def test_a_task_has_one_failure_handler_and_one_completion_handler() -> None:
    async def failing(a: Retry = Retry(), b: Any = Handler(True)) -> None: ...
    async def completing(a: Perpetual = Perpetual(), b: Any = Completion()) -> None: ...

    for task, kind in ((failing, "FailureHandler"), (completing, "CompletionHandler")):
        with pytest.raises(DuplicateDependency, match=f"Only one {kind} dependency"):
            Docket().register(task)
