"""A task that runs too long is cancelled and fails with TimeoutError."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta

import pytest

from docket.dependencies import Depends, Timeout
from tests.support.runs import call

pytestmark = pytest.mark.anyio

SHORT = timedelta(milliseconds=20)
LONG = timedelta(minutes=1)


async def forever() -> None:
    await asyncio.Event().wait()


@pytest.mark.statement(41)
async def test_a_task_that_runs_too_long_fails_with_a_timeout_error() -> None:
    async def task(timeout: Timeout = Timeout(SHORT)) -> None:
        await forever()

    with pytest.raises(TimeoutError, match=r"^Docket task the-key exceeded timeout of 0\.02s$"):
        await call(task)


@pytest.mark.statement(41)
@pytest.mark.parametrize("goes_on", [False, True])
async def test_a_task_that_catches_the_cancellation_and_returns_was_too_long(goes_on: bool) -> None:
    async def task(timeout: Timeout = Timeout(SHORT)) -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            if goes_on:
                await asyncio.sleep(0)
        return "cleaned up"

    with pytest.raises(TimeoutError, match=r"^Docket task the-key exceeded timeout of 0\.02s$"):
        await call(task)


async def test_what_a_task_raises_when_its_time_is_over_stays_as_it_is() -> None:
    async def task(timeout: Timeout = Timeout(SHORT)) -> None:
        try:
            await forever()
        finally:
            raise ValueError("while cleaning up")

    with pytest.raises(ValueError, match="while cleaning up"):
        await call(task)


async def test_a_task_that_is_done_in_time_returns() -> None:
    async def task(timeout: Timeout = Timeout(LONG)) -> tuple[bool, bool]:
        return timeout.expired(), timeout.remaining() > timedelta(seconds=50)

    assert await call(task) == (False, True)


async def test_the_time_can_be_extended_by_the_base_or_by_a_given_time() -> None:
    async def task(timeout: Timeout = Timeout(LONG)) -> list[bool]:
        timeout.extend()
        by_the_base = timeout.remaining() > 1.9 * LONG
        timeout.extend(timedelta(hours=1))
        return [by_the_base, timeout.remaining() > timedelta(hours=1)]

    assert await call(task) == [True, True]


async def test_start_gives_the_whole_time_again() -> None:
    async def task(timeout: Timeout = Timeout(LONG)) -> bool:
        timeout.extend(timedelta(hours=1))
        timeout.start()
        return timeout.remaining() <= LONG

    assert await call(task)


async def test_time_that_is_over_cannot_be_extended() -> None:
    seen: list[bool] = []

    async def task(timeout: Timeout = Timeout(SHORT)) -> None:
        try:
            await forever()
        finally:
            seen.append(timeout.expired())
            timeout.extend()

    with pytest.raises(RuntimeError, match="time of this task is over"):
        await call(task)
    assert seen == [True]


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    started = asyncio.Event()

    async def task(timeout: Timeout = Timeout(LONG)) -> None:
        started.set()
        await forever()

    running = asyncio.create_task(call(task))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_timeout_error_of_the_tasks_own_stays_as_it_is() -> None:
    async def task(timeout: Timeout = Timeout(LONG)) -> None:
        raise TimeoutError("the task's own")

    with pytest.raises(TimeoutError, match="the task's own"):
        await call(task)


async def test_what_the_task_uses_is_outside_the_timeout_and_sees_its_error() -> None:
    seen: list[BaseException] = []

    @contextmanager
    def watching() -> Iterator[None]:
        try:
            yield
        except Exception as error:
            seen.append(error)
            raise

    @asynccontextmanager
    async def slow_to_open() -> AsyncIterator[None]:
        await asyncio.sleep(3 * SHORT.total_seconds())
        yield

    async def patient(timeout: Timeout = Timeout(SHORT), s: None = Depends(slow_to_open)) -> str:
        return "done"

    async def impatient(timeout: Timeout = Timeout(SHORT), w: None = Depends(watching)) -> None:
        await forever()

    assert await call(patient) == "done"
    with pytest.raises(TimeoutError):
        await call(impatient)
    assert [type(error) for error in seen] == [TimeoutError]


async def test_each_run_has_its_own_time() -> None:
    async def task(timeout: Timeout = Timeout(LONG)) -> Timeout:
        return timeout

    one, two = await call(task), await call(task)

    assert one is not two


@pytest.mark.parametrize("base", [timedelta(0), timedelta(seconds=-1)])
def test_a_timeout_that_is_not_positive_is_refused(base: timedelta) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Timeout(base)


def test_a_timeout_that_no_task_runs_under_says_so() -> None:
    with pytest.raises(RuntimeError, match="has not been started"):
        Timeout(LONG).remaining()
