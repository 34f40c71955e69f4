"""A dependency that the caller passes takes the part of the one in the signature."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from docket import Depends, Docket, ExponentialRetry, Perpetual, Retry, Timeout, Worker
from docket.dependencies import CompletionHandler, Dependency, FailureHandler, Runtime
from tests.support.dockets import failure_of, finish, result_of, soon

pytestmark = [pytest.mark.anyio, pytest.mark.statement(34)]

MOMENT = timedelta(milliseconds=10)

events: list[Any] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    events.clear()


class OwnHandler(FailureHandler[Any]):
    async def __aenter__(self) -> Any:
        events.append("entered")
        return self

    async def handle_failure(self, execution: Any, outcome: Any) -> bool:
        events.append(f"handled {outcome.exception!r}")
        return True


class OwnRuntime(Runtime[Any]):
    async def __aenter__(self) -> Any:
        events.append("entered")
        return self

    async def run(self, execution: Any, function: Any, args: Any, kwargs: Any) -> Any:
        events.append("runs")
        return await function(*args, **kwargs)


class OwnCompletion(CompletionHandler[Any]):
    async def __aenter__(self) -> Any:
        events.append("entered")
        return self

    async def on_complete(self, execution: Any, outcome: Any) -> bool:
        events.append(f"heard of {outcome.result}")
        return False


class Value(Dependency[str]):
    async def __aenter__(self) -> str:
        events.append("entered")
        return "entered"


async def test_a_retry_says_how_often(docket: Docket) -> None:
    attempts: list[int | None] = []

    async def task(retry: Retry = Retry(attempts=2)) -> None:
        attempts.append(retry.attempts)
        raise ValueError

    for passed in (Retry(attempts=4), ExponentialRetry(attempts=3, minimum_delay=MOMENT)):
        execution = await docket.add(task)(retry=passed)
        await finish(docket)
        assert isinstance(await failure_of(execution), ValueError)
    assert attempts == [4, 4, 4, 4, 3, 3, 3]


async def test_by_position_it_is_only_a_value(docket: Docket) -> None:
    attempts: list[int | None] = []

    async def task(retry: Retry = Retry(attempts=2)) -> None:
        attempts.append(retry.attempts)
        raise ValueError

    await docket.add(task)(Retry(attempts=4))
    await finish(docket)
    assert attempts == [4]


async def test_a_timeout_limits_the_time(docket: Docket) -> None:
    async def task(timeout: Timeout = Timeout(timedelta(hours=1))) -> None:
        assert timeout.remaining() <= MOMENT
        await asyncio.Event().wait()

    execution = await docket.add(task, key="k")(timeout=Timeout(MOMENT))
    await finish(docket)

    assert str(await failure_of(execution)) == "Docket task k exceeded timeout of 0.01s"


async def test_a_perpetual_is_followed_by_its_successor(docket: Docket) -> None:
    async def task(perpetual: Perpetual = Perpetual(every=timedelta(hours=1))) -> None:
        events.append(perpetual.every)

    await docket.add(task, key="k")(perpetual=Perpetual(every=MOMENT))
    async with Worker(docket) as worker:
        await soon(worker.run_at_most({"k": 3}))
    assert events == [MOMENT] * 3


async def test_handlers_and_runtimes_of_ones_own_take_part_and_are_not_entered(
    docket: Docket,
) -> None:
    def nothing() -> None: ...

    async def task(fails: bool, part: Any = Depends(nothing)) -> str:
        events.append(type(part).__name__)
        if fails:
            raise ValueError
        return "done"

    executions = [
        await docket.add(task)(True, part=OwnHandler()),
        await docket.add(task)(False, part=OwnRuntime()),
        await docket.add(task)(False, part=OwnCompletion()),
        await docket.add(task)(False, part=Value()),
    ]
    await finish(docket, concurrency=1)

    assert isinstance(await failure_of(executions[0]), ValueError)
    assert [await result_of(execution) for execution in executions[1:]] == ["done"] * 3
    assert events == [
        *("OwnHandler", "handled ValueError()"),
        *("runs", "OwnRuntime"),
        *("OwnCompletion", "heard of done"),
        "Value",
    ]
