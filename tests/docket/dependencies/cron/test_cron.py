"""`Cron`: the times of an expression, in the wall-clock time of a zone, each of them once."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSimError

from docket import Cron, CurrentExecution, Docket, Execution, Perpetual, Worker
from docket.clock import from_microseconds, microseconds_of
from docket.dependencies import TaskOutcome
from docket.dependencies.cron import NICKNAMES
from docket.errors import DocketError
from docket.lifecycle import Due, DueOrigin
from tests.support.dockets import Gate, at_work, found, soon
from tests.support.store import until

pytestmark = pytest.mark.anyio

VIENNA = ZoneInfo("Europe/Vienna")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def times(cron: Cron, start: datetime, count: int) -> list[str]:
    """The first times after an instant, in UTC."""
    found: list[str] = []
    for _ in range(count):
        start = cron.next_time(start)
        found.append(start.astimezone(UTC).strftime("%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("*/15 * * * *", "2026-03-04 10:15"),
        ("0 9 * * mon-fri", "2026-03-05 09:00"),
        ("30 6 1 * *", "2026-04-01 06:30"),
        ("@yearly", "2027-01-01 00:00"),
        ("@annually", "2027-01-01 00:00"),
        ("@monthly", "2026-04-01 00:00"),
        ("@weekly", "2026-03-08 00:00"),
        ("@daily", "2026-03-05 00:00"),
        ("@midnight", "2026-03-05 00:00"),
        ("@hourly", "2026-03-04 11:00"),
    ],
)
def test_the_next_time_of_an_expression(expression: str, expected: str) -> None:
    # A Wednesday.
    after = utc("2026-03-04 10:00")
    assert Cron(expression).next_time(after) == utc(expected)


def test_an_expression_is_in_the_wall_clock_time_of_its_zone() -> None:
    cron = Cron("0 9 * * *", tz=VIENNA)
    assert cron.next_time(utc("2026-01-10 00:00")) == utc("2026-01-10 08:00")
    assert cron.next_time(utc("2026-07-10 00:00")) == utc("2026-07-10 07:00")


def test_a_time_that_daylight_saving_skips_comes_right_after_the_change() -> None:
    cron = Cron("30 2 * * *", tz=VIENNA)
    # On 29 March 2026 the clocks go from 02:00 to 03:00, at 01:00 UTC.
    assert times(cron, utc("2026-03-28 00:00"), 3) == ["03-28 01:30", "03-29 01:00", "03-30 00:30"]


def test_a_time_that_daylight_saving_repeats_comes_once() -> None:
    cron = Cron("30 2 * * *", tz=VIENNA)
    # On 25 October 2026 the clocks go from 03:00 back to 02:00, at 01:00 UTC.
    assert times(cron, utc("2026-10-24 12:00"), 2) == ["10-25 00:30", "10-26 01:30"]
    assert times(cron, utc("2026-10-25 00:30"), 1) == ["10-26 01:30"]
    assert times(cron, utc("2026-10-25 00:45"), 1) == ["10-26 01:30"]


def test_a_job_of_every_hour_keeps_its_pace_over_both_changes() -> None:
    cron = Cron("0 * * * *", tz=VIENNA)
    assert times(cron, utc("2026-03-28 23:30"), 3) == ["03-29 00:00", "03-29 01:00", "03-29 02:00"]
    assert times(cron, utc("2026-10-24 23:30"), 3) == ["10-25 00:00", "10-25 01:00", "10-25 02:00"]


@pytest.mark.parametrize(
    "expression",
    ["", "often", "* * * *", "* * * * * * *", "60 * * * *", "0 24 * * *", "@reboot", "0 0 30 2 *"],
)
def test_an_expression_that_cannot_be_used_is_refused_with_the_forms_that_can(
    expression: str,
) -> None:
    with pytest.raises(ValueError, match=r"five fields .* six .* or one of @yearly") as refused:
        Cron(expression)
    assert repr(expression) in str(refused.value)
    assert isinstance(refused.value, DocketError)
    assert isinstance(refused.value, CronSimError)


@pytest.mark.statement(44)
@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("*/10 * * * * *", "2026-03-04 10:00:10"),
        ("30 15 10 * * *", "2026-03-04 10:15:30"),
        ("0 0 L * *", "2026-03-31 00:00"),
        ("0 0 LW * *", "2026-03-31 00:00"),
        ("0 0 * * MON#2", "2026-03-09 00:00"),
        ("0 0 * * 5L", "2026-03-27 00:00"),
        ("0 0 * jan sun", "2027-01-03 00:00"),
    ],
)
def test_an_expression_is_whatever_cronsim_accepts(expression: str, expected: str) -> None:
    cron = Cron(expression)

    assert cron.expression == expression
    assert cron.next_time(utc("2026-03-04 10:00")) == utc(expected)


@pytest.mark.statement(44)
@pytest.mark.parametrize("nickname", NICKNAMES)
def test_the_expression_of_a_nickname_is_what_it_stands_for(nickname: str) -> None:
    assert Cron(nickname).expression == NICKNAMES[nickname]
    assert Cron("@daily").expression == "0 0 * * *"


@pytest.mark.statement(42)
@pytest.mark.parametrize(
    ("cron", "step"),
    [
        (Cron("* * * * *"), timedelta(minutes=1)),
        (Cron("*/10 * * * * *"), timedelta(seconds=10)),
        (Cron("@hourly"), timedelta(hours=1)),
        (Cron("0 0 * * *", tz=VIENNA, automatic=False), None),
    ],
    ids=lambda each: getattr(each, "expression", str(each)),
)
def test_each_call_gives_the_next_time_in_the_zone_of_the_cron(
    cron: Cron, step: timedelta | None
) -> None:
    before = datetime.now(UTC)
    cron = Cron(cron.expression, tz=cron.tz)
    later = datetime.now(UTC)

    walked = [cron.next_time(), cron.initial_when, cron.next_time(), cron.initial_when]

    # Another one, asked from the outside, has the same times.
    assert walked[0] in (cron.next_time(before), cron.next_time(later))
    for earlier, following in pairwise(walked):
        assert following == cron.next_time(earlier)
        assert step is None or following - earlier == step
    assert {time.tzinfo for time in walked} == {cron.tz}


@pytest.mark.statement(42)
def test_walking_goes_over_both_changes_of_daylight_saving() -> None:
    for start, expected in [
        ("2026-03-28 00:00", ["03-28 01:30", "03-29 01:00", "03-30 00:30"]),
        ("2026-10-24 12:00", ["10-25 00:30", "10-26 01:30", "10-27 01:30"]),
    ]:
        cron = Cron("30 2 * * *", tz=VIENNA)
        cron.start = utc(start)

        walked = [cron.next_time().astimezone(UTC).strftime("%m-%d %H:%M") for _ in expected]

        assert walked == expected


def test_every_documented_nickname_is_known() -> None:
    documented = "@yearly @annually @monthly @weekly @daily @midnight @hourly"
    assert set(NICKNAMES) == set(documented.split())


def test_it_is_a_perpetual_and_automatic_unless_told_otherwise() -> None:
    assert isinstance(Cron("@daily"), Perpetual)
    assert Cron("@daily").automatic
    assert not Cron("@daily", automatic=False).automatic


def ended(when: str, started_at: str | None, seconds: float = 0) -> tuple[Execution, TaskOutcome]:
    async def nothing() -> None: ...

    execution = Execution(Docket(), nothing, (), {}, "k", utc(when), 1)
    execution.started_at = None if started_at is None else utc(started_at)
    return execution, TaskOutcome(timedelta(seconds=seconds))


def due(cron: Cron, *of: object, **more: float) -> datetime:
    execution, outcome = ended(*of, **more)  # type: ignore[arg-type]
    successor = cron.after_completion(execution, outcome)
    assert successor is not None
    assert successor.due.origin is DueOrigin.EPOCH
    return from_microseconds(microseconds_of(str(successor.due.value).encode()))


@pytest.mark.statement(43)
@pytest.mark.parametrize("minutes", [0, 59, 60, 61, 150])
def test_the_successor_is_due_at_the_next_time_after_the_start_of_the_run(minutes: float) -> None:
    cron = Cron("0 * * * *")
    assert due(cron, "2026-03-04 10:00", "2026-03-04 10:00", seconds=minutes * 60) == utc(
        "2026-03-04 11:00"
    )


@pytest.mark.statement(43)
def test_times_that_passed_before_it_began_are_not_made_up_for() -> None:
    cron = Cron("0 * * * *")
    assert due(cron, "2026-03-04 10:00", "2026-03-04 12:30") == utc("2026-03-04 13:00")


def test_a_run_that_began_early_by_its_clock_is_not_followed_by_the_same_time() -> None:
    cron = Cron("0 * * * *")
    assert due(cron, "2026-03-04 10:00", "2026-03-04 09:59:59") == utc("2026-03-04 11:00")


def test_a_run_that_was_begun_by_hand_goes_by_our_own_clock() -> None:
    assert due(Cron("* * * * *"), "2026-03-04 10:00", None) > datetime.now(UTC)


def test_what_the_task_says_comes_first() -> None:
    cron = Cron("0 * * * *")
    cron.at(utc("2026-03-04 10:07"))
    execution, outcome = ended("2026-03-04 10:00", "2026-03-04 10:00")
    successor = cron.after_completion(execution, outcome)
    assert successor is not None
    assert successor.due == Due.at(utc("2026-03-04 10:07"))


async def test_a_task_of_a_docket_runs_and_is_scheduled_for_its_next_time(docket: Docket) -> None:
    async def report(cron: Cron = Cron("0 0 1 1 *", automatic=False)) -> None: ...

    execution = await docket.add(report, key="k")()
    async with at_work(Worker(docket)) as worker:
        await until(lambda: worker.counters.perpetuated == 1)

    successor = await found(docket, "k")
    assert successor.generation == 2
    assert successor.when == Cron("0 0 1 1 *").next_time(execution.when)


@pytest.mark.statement(43)
async def test_a_run_longer_than_the_interval_is_followed_by_the_time_it_overlapped(
    docket: Docket,
) -> None:
    began: list[tuple[datetime, datetime]] = []
    gate = Gate()

    async def report(
        cron: Cron = Cron("* * * * * *", automatic=False),
        execution: Execution = CurrentExecution(),
    ) -> None:
        assert execution.started_at is not None
        began.append((execution.when, execution.started_at))
        if len(began) == 1:
            await gate.pass_through()

    await docket.add(report, key="k")()
    async with at_work(Worker(docket)) as worker:
        await soon(gate.reached.wait())
        every_second = Cron("* * * * * *")
        overlapped = every_second.next_time(began[0][1])
        await until(lambda: datetime.now(UTC) > overlapped + timedelta(seconds=2.2))
        gate.opened.set()
        await until(lambda: worker.counters.perpetuated == 3)

    assert began[1][0] == overlapped
    # The second run begins late, and what passed meanwhile is not made up for.
    assert began[2][0] == every_second.next_time(began[1][1])
    assert began[2][0] >= overlapped + timedelta(seconds=3)


@pytest.mark.statement(42)
async def test_in_a_task_it_walks_from_the_start_of_the_run_and_the_next_run_comes_after(
    docket: Docket,
) -> None:
    seen: list[datetime] = []
    in_signature = Cron("0 0 1 1 *", automatic=False)
    in_signature.next_time()

    async def report(cron: Cron = in_signature) -> None:
        seen.extend([cron.next_time(), cron.next_time()])

    execution = await docket.add(report, key="k")()
    async with at_work(Worker(docket)) as worker:
        await until(lambda: worker.counters.perpetuated == 1)

    years = Cron("0 0 1 1 *")
    years.start = execution.when
    assert seen == [years.next_time(), years.next_time()]
    assert (await found(docket, "k")).when == years.next_time()


@pytest.mark.statement(42)
async def test_seeding_walks_on_nobodys_cron(docket: Docket) -> None:
    cron = Cron("0 0 1 1 *")

    async def report(cron: Cron = cron) -> None: ...

    docket.register(report)
    for _ in range(2):
        await docket.clear()
        async with at_work(Worker(docket)):
            seeded = await found(docket, "report")
            assert seeded.when == Cron("0 0 1 1 *").next_time()

    assert cron.next_time() == Cron("0 0 1 1 *").next_time()
