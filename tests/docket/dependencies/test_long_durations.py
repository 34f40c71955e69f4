"""Durations that mean "for ever": timedelta.max, and what is far beyond any calendar."""

from datetime import timedelta
from typing import Any

import pytest

from docket import (
    Cooldown,
    Debounce,
    Docket,
    ExponentialRetry,
    Perpetual,
    RateLimit,
    Retry,
    Timeout,
    Worker,
)
from docket.clock import LONGEST, delay_milliseconds
from tests.support.dockets import at_work, finish, result_of
from tests.support.limits import states
from tests.support.store import until

pytestmark = pytest.mark.anyio

EVER = timedelta.max
CENTURIES = timedelta(days=36_500_000)


def task_with(dependency: Any, *, fails: bool) -> Any:
    async def task(dependency: Any = dependency) -> str:
        if fails:
            raise ValueError("no")
        return "done"

    return task


@pytest.mark.parametrize("ever", [EVER, CENTURIES])
@pytest.mark.parametrize(
    ("make", "fails", "ends"),
    [
        (lambda ever: RateLimit(1, per=ever), False, ["completed", "scheduled", "scheduled"]),
        (
            lambda ever: RateLimit(1, per=ever, drop=True),
            False,
            ["completed", "cancelled", "cancelled"],
        ),
        (Cooldown, False, ["completed", "cancelled", "cancelled"]),
        (Debounce, False, ["scheduled", "cancelled", "cancelled"]),
        (lambda ever: Retry(3, delay=ever), True, ["scheduled"] * 3),
        (lambda ever: ExponentialRetry(3, ever, ever), True, ["scheduled"] * 3),
        (lambda ever: Perpetual(every=ever), False, ["scheduled"] * 3),
    ],
)
async def test_a_limit_or_delay_for_ever_is_kept_by_every_task(
    docket: Docket, ever: timedelta, make: Any, fails: bool, ends: list[str]
) -> None:
    task = task_with(make(ever), fails=fails)
    for i in range(3):
        await docket.add(task, key=f"k{i}")()

    async def ended() -> bool:
        return await states(docket, "k0", "k1", "k2") == ends

    async with at_work(Worker(docket, concurrency=1)):
        await until(ended)


async def test_a_timeout_for_ever_can_be_asked_and_moved(docket: Docket) -> None:
    async def task(timeout: Timeout = Timeout(EVER)) -> bool:
        first = timeout.remaining()
        timeout.start()
        timeout.extend()
        timeout.extend(EVER)
        return first > timedelta(days=300_000) and timeout.remaining() >= first

    execution = await docket.add(task)()
    await finish(docket)

    assert await result_of(execution)


async def test_records_and_leases_for_ever_are_kept(server: str, docket_name: str) -> None:
    async def task() -> str:
        return "done"

    async with Docket(docket_name, server, execution_ttl=EVER) as docket:
        execution = await docket.add(task)()
        await finish(docket, redelivery_timeout=EVER)

        assert await result_of(execution) == "done"
        assert docket.execution_ttl == LONGEST


def test_heartbeats_that_would_notice_no_death_are_refused() -> None:
    for interval in (EVER, timedelta(days=2)):
        with pytest.raises(ValueError, match="heartbeat_interval must be at most 1 day"):
            Docket(heartbeat_interval=interval)


def test_a_longer_delay_is_taken_as_ten_thousand_years() -> None:
    assert (
        delay_milliseconds(EVER)
        == delay_milliseconds(LONGEST)
        == LONGEST // timedelta(milliseconds=1)
    )
