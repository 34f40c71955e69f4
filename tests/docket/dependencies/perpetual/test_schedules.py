"""Automatic tasks whose schedule newer code has changed, while they wait."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from docket import Cron, Docket, Perpetual, Worker
from docket.services.seeder import Seeder
from docket.store import transitions
from tests.support.dockets import at_work, found
from tests.support.store import until

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)
Task = Callable[..., Awaitable[None]]


def cron(expression: str, tz: Any = UTC) -> Task:
    async def task(c: Cron = Cron(expression, tz=tz)) -> None: ...

    return task


def every(interval: timedelta) -> Task:
    async def task(p: Perpetual = Perpetual(every=interval, automatic=True)) -> None: ...

    return task


class Code:
    """A process that has one version of the task registered."""

    def __init__(self, docket: Docket, task: Task) -> None:
        self.docket = docket
        docket.register(task)
        self.seeder = Seeder(docket)
        self.task = task

    async def seed(self) -> timedelta:
        self.docket.register(self.task)
        await self.seeder.seed()
        return (await found(self.docket, "task")).when - datetime.now(UTC)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (cron("0 0 1 1 *"), cron("* * * * *")),
        (cron("* * * * *"), cron("0 0 1 1 *")),
        (cron("0 12 * * *"), cron("0 12 * * *", "Pacific/Kiritimati")),
        (every(30 * DAY), cron("* * * * *")),
    ],
)
async def test_newer_code_times_it_anew_and_old_code_does_not_change_that(
    docket: Docket, old: Task, new: Task
) -> None:
    before = Code(docket, old)
    if "p" in old.__code__.co_varnames:
        async with at_work(Worker(docket)) as worker:
            await until(lambda: worker.counters.perpetuated == 1)
    await before.seed()
    waits = (await found(docket, "task")).when
    after = Code(docket, new)
    await after.seed()
    changed = (await found(docket, "task")).when
    assert changed != waits

    for code in before, Code(docket, old), after, Code(docket, new):
        await code.seed()
        assert (await found(docket, "task")).when == changed


async def test_a_shorter_interval_counts_from_now_and_a_longer_one_keeps_the_time(
    docket: Docket,
) -> None:
    Code(docket, every(30 * DAY))
    async with at_work(Worker(docket)) as worker:
        await until(lambda: worker.counters.perpetuated == 1)

    assert timedelta(0) < await Code(docket, every(DAY)).seed() <= DAY
    assert timedelta(0) < await Code(docket, every(60 * DAY)).seed() <= DAY


async def test_what_old_code_has_timed_again_is_timed_anew(docket: Docket) -> None:
    old, new = Code(docket, every(30 * DAY)), Code(docket, every(DAY))
    await old.seed()
    docket.register(new.task)
    await new.seed()  # Queued: the run tells the time of the next one.
    docket.register(old.task)
    async with at_work(Worker(docket, schedule_automatic_tasks=False)) as worker:
        await until(lambda: worker.counters.perpetuated == 1)
    assert await old.seed() > 29 * DAY

    assert await new.seed() <= DAY
    assert await old.seed() <= DAY


async def test_code_that_was_rolled_back_has_its_schedule_again_after_a_while(
    docket: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = cron("0 0 * * *"), cron("0 0 1 1 *")
    first = Code(docket, old)
    waits = await first.seed()
    assert await Code(docket, new).seed() != waits
    rolled_back = Code(docket, old)
    changed = (await found(docket, "task")).when
    await rolled_back.seed()
    assert (await found(docket, "task")).when == changed

    monkeypatch.setattr(transitions, "ROLLOUT", timedelta(0))
    await first.seed()  # It began before the change.
    assert (await found(docket, "task")).when == changed
    assert await rolled_back.seed() <= DAY


async def test_a_time_that_somebody_gave_is_kept(docket: Docket) -> None:
    async def task(p: Perpetual = Perpetual(every=DAY, automatic=True)) -> None:
        p.after(10 * DAY)

    docket.register(task)
    async with at_work(Worker(docket)) as worker:
        await until(lambda: worker.counters.perpetuated == 1)
    assert await Code(docket, every(timedelta(hours=1))).seed() > 9 * DAY

    await docket.replace("task", datetime.now(UTC) + 20 * DAY, "task")()
    assert await Code(docket, every(timedelta(hours=2))).seed() > 19 * DAY


async def test_one_task_that_cannot_be_seeded_is_named_and_leaves_the_others_alone(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Cron):
        @property
        def initial_when(self) -> datetime:
            raise LookupError("no such calendar")

    class Naive(Cron):
        @property
        def initial_when(self) -> datetime:
            return datetime(2030, 1, 1)  # noqa: DTZ001

    async def broken(c: Cron = Broken("* * * * *")) -> None: ...
    async def naive(c: Cron = Naive("* * * * *")) -> None: ...

    docket.register(broken)
    docket.register(naive)
    docket.register(cron("0 0 1 1 *"))
    async with at_work(Worker(docket)):
        assert (await found(docket, "task")).when > datetime.now(UTC)
    errors = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert len(errors) == 2
    assert "'broken'" in errors[0]
    assert "'naive'" in errors[1]
