"""Instants and durations of other libraries: subclasses of `datetime` and `timedelta` are taken.

Wherever an instant or a duration is taken; what is none of them is refused by its name.
"""

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pendulum
import pytest
from freezegun import freeze_time
from freezegun.api import FakeDatetime

from docket import (
    Agenda,
    Cooldown,
    CurrentExecution,
    Debounce,
    Docket,
    Execution,
    ExecutionState,
    ExponentialRetry,
    Perpetual,
    RateLimit,
    Retry,
    TaskCall,
    Timeout,
    Worker,
)
from docket.dependencies import AdmissionBlocked, ForcedRetry
from tests.support.dockets import PATIENCE, at_work, finish, found, result_of, soon
from tests.support.store import until

pytestmark = pytest.mark.anyio

LATER = timedelta(hours=1)


async def double(n: int) -> int:
    return 2 * n


def pendulum_instant(delay: timedelta) -> datetime:
    return pendulum.now("America/New_York") + delay


def frozen_instant(delay: timedelta) -> datetime:
    now = datetime.now(UTC) + delay
    with freeze_time(now.replace(tzinfo=None)):
        return datetime.now(UTC)


INSTANTS = {"pendulum": pendulum_instant, "freezegun": frozen_instant}

INTERVAL = pendulum.interval(pendulum.datetime(2026, 1, 1), pendulum.datetime(2026, 1, 1, 0, 0, 5))
#: Five seconds each.
DURATIONS = {"duration": pendulum.duration(seconds=5), "interval": INTERVAL}


@pytest.fixture(params=INSTANTS)
def instant(request: pytest.FixtureRequest) -> Callable[[timedelta], datetime]:
    return INSTANTS[request.param]


@pytest.fixture(params=DURATIONS)
def five_seconds(request: pytest.FixtureRequest) -> timedelta:
    length = DURATIONS[request.param]
    assert type(length) is not timedelta
    return length


def test_the_instants_of_the_tests_are_of_other_types() -> None:
    assert isinstance(pendulum_instant(LATER), pendulum.DateTime)
    assert isinstance(frozen_instant(LATER), FakeDatetime)


@pytest.mark.parametrize("delay", [LATER, -LATER], ids=["to come", "past"])
@pytest.mark.parametrize("way", ["add", "replace", "call", "TaskCall", "Execution", "schedule"])
async def test_an_instant_of_another_library_is_that_instant(
    docket: Docket, instant: Callable[[timedelta], datetime], way: str, delay: timedelta
) -> None:
    docket.register(double)
    when = instant(delay)
    by_hand = Execution(docket, double, (21,), {}, "k", when, 1)
    match way:
        case "add":
            execution = await docket.add(double, when, "k")(21)
        case "replace":
            execution = await docket.replace(double, when, "k")(21)
        case "call":
            (execution,) = await docket.add_many([docket.call(double, when, "k")(21)])
        case "TaskCall":
            (execution,) = await docket.add_many([TaskCall(double, (21,), {}, "k", when)])
        case "Execution":
            await by_hand.schedule()
            execution = by_hand
        case _:
            await docket.schedule(by_hand)
            execution = by_hand

    assert execution.when is when
    stored = await found(docket, "k")
    assert stored.when == when
    assert type(stored.when) is datetime
    is_past = delay < timedelta(0)
    assert stored.state is (ExecutionState.QUEUED if is_past else ExecutionState.SCHEDULED)
    if is_past:
        await finish(docket)
        assert await result_of(execution) == 42


async def test_an_agenda_takes_them(
    docket: Docket, instant: Callable[[timedelta], datetime], five_seconds: timedelta
) -> None:
    agenda = Agenda()
    for n in range(3):
        agenda.add(double)(n)
    start = instant(LATER)

    executions = await agenda.scatter(docket, five_seconds, start)
    moved = await agenda.scatter(docket, five_seconds, start, jitter=five_seconds)

    expected = [timedelta(0), timedelta(seconds=2.5), timedelta(seconds=5)]
    assert [e.when - start for e in executions] == expected
    assert all(timedelta(0) <= e.when - start <= timedelta(seconds=10) for e in moved)


async def test_a_perpetual_task_takes_them(
    docket: Docket, instant: Callable[[timedelta], datetime], five_seconds: timedelta
) -> None:
    when = instant(LATER)

    async def at(perpetual: Perpetual = Perpetual(every=five_seconds)) -> None:
        perpetual.at(when)

    async def after(perpetual: Perpetual = Perpetual()) -> None:
        perpetual.after(five_seconds)

    async def every(perpetual: Perpetual = Perpetual(every=five_seconds)) -> None: ...

    before = datetime.now(UTC)
    for function in (at, after, every):
        await docket.add(function, key=function.__name__)()
    async with at_work(Worker(docket)) as worker:
        await until(lambda: worker.counters.perpetuated == 3)

    assert (await found(docket, "at")).when == when
    for key in ("after", "every"):
        due = (await found(docket, key)).when
        assert timedelta(seconds=5) <= due - before < timedelta(seconds=5) + PATIENCE


async def test_a_retry_takes_them(
    docket: Docket, instant: Callable[[timedelta], datetime], five_seconds: timedelta
) -> None:
    async def at(
        retry: Retry = Retry(attempts=2, delay=five_seconds),
        execution: Execution = CurrentExecution(),
    ) -> int:
        if execution.attempt == 1:
            retry.at(instant(timedelta(milliseconds=20)))
        return execution.attempt

    async def after(retry: Retry = Retry(attempts=2)) -> None:
        retry.after(five_seconds)

    async def fails(
        retry: ExponentialRetry = ExponentialRetry(
            attempts=2, minimum_delay=five_seconds, maximum_delay=five_seconds
        ),
    ) -> None:
        raise LookupError

    before = datetime.now(UTC)
    first = await docket.add(at)()
    for function in (after, fails):
        await docket.add(function, key=function.__name__)()
    async with at_work(Worker(docket)):
        assert await result_of(first) == 2
        for key in ("after", "fails"):
            later = await found(docket, key)
            await until(lambda execution=later: _is_waiting(execution), f"the retry of {key}")
            assert later.attempt == 2
            assert timedelta(seconds=5) <= later.when - before < timedelta(seconds=5) + PATIENCE


async def _is_waiting(execution: Execution) -> bool:
    await execution.sync()
    return execution.state is ExecutionState.SCHEDULED


async def test_waiting_for_a_result_takes_them(
    docket: Docket, instant: Callable[[timedelta], datetime], five_seconds: timedelta
) -> None:
    execution = await docket.add(double, key="k")(4)
    with pytest.raises(TimeoutError):
        await soon(execution.get_result(deadline=instant(timedelta(milliseconds=20))))
    with pytest.raises(TimeoutError):
        await soon(execution.get_result(timeout=pendulum.duration(microseconds=20_000)))
    await finish(docket)

    assert await execution.get_result(timeout=five_seconds) == 8
    assert await execution.get_result(deadline=instant(LATER)) == 8


async def test_windows_limits_and_settings_take_them(
    server: str, docket_name: str, five_seconds: timedelta
) -> None:
    settings: dict[str, Any] = dict.fromkeys(["heartbeat_interval", "execution_ttl"], five_seconds)
    async with Docket(docket_name, server, **settings) as docket:

        async def limited(
            n: int,
            cooldown: Cooldown = Cooldown(five_seconds),
            rate: RateLimit = RateLimit(9, per=five_seconds),
            timeout: Timeout = Timeout(five_seconds),
        ) -> timedelta:
            timeout.extend(five_seconds)
            return timeout.remaining()

        async def settled(debounce: Debounce = Debounce(five_seconds)) -> None: ...

        ran, dropped = await docket.add(limited)(1), await docket.add(limited)(2)
        waits = await docket.add(settled)()
        worker = Worker(
            docket,
            concurrency=1,
            redelivery_timeout=five_seconds,
            reconnection_delay=five_seconds,
            minimum_check_interval=five_seconds,
            scheduling_resolution=five_seconds,
        )
        async with at_work(worker):
            assert timedelta(seconds=5) < await result_of(ran) <= timedelta(seconds=10)
            await until(lambda: worker.counters.cancelled == 1, "the call in the cooldown")
            await until(lambda: _is_waiting(waits), "the quiet that is waited for")
        await dropped.sync()
        assert dropped.state is ExecutionState.CANCELLED
        for name in ("redelivery_timeout", "minimum_check_interval"):
            assert getattr(worker, name) == timedelta(seconds=5)
        assert docket.execution_ttl == docket.heartbeat_interval == timedelta(seconds=5)
        async with docket.redis() as redis:
            assert 0 < await redis.ttl(docket.runs_key(ran.key)) <= 5


async def test_a_frozen_clock_is_the_callers_clock(docket: Docket) -> None:
    with freeze_time("2020-05-17 12:00:00", real_asyncio=True):
        execution = await docket.add(double)(3)
        call = docket.call(double)(4)
        (of_many,) = await docket.add_many([call])

    noon = datetime(2020, 5, 17, 12, tzinfo=UTC)
    assert execution.when == call.when == of_many.when == noon
    await finish(docket)
    assert (await result_of(execution), await result_of(of_many)) == (6, 8)


class Instant:
    """As those of arrow and whenever, which are no subclasses of `datetime`."""


class TimeDelta:
    """As that of whenever."""


#: Each with the words that refuse it.
NO_INSTANTS: list[tuple[Any, str]] = [
    (Instant(), rf"must be a datetime, not {re.escape(__name__)}\.Instant \("),
    (pendulum.today().date(), r"must be a datetime, not pendulum\.date\.Date"),
    (pendulum.naive(2030, 1, 1), "must be a timezone-aware datetime, not the naive DateTime"),
    (datetime(2030, 1, 1), "must be a timezone-aware datetime, not the naive datetime"),  # noqa: DTZ001
    ("tomorrow", "must be a datetime, not str"),
    (0, "must be a datetime, not int"),
]

NO_DURATIONS: list[tuple[Any, str]] = [
    (TimeDelta(), rf"must be a timedelta, not {re.escape(__name__)}\.TimeDelta \("),
    (5, "must be a timedelta, not int"),
    ("5s", "must be a timedelta, not str"),
]

INSTANT_TAKERS: dict[str, Callable[[Docket, Any], Awaitable[Any]]] = {
    "add": lambda d, when: d.add(double, when, "k")(1),
    "replace": lambda d, when: d.replace(double, when, "k")(1),
    "call": lambda d, when: d.add_many([d.call(double, when, "k")(1)]),
    "TaskCall": lambda d, when: d.add_many([TaskCall(double, (1,), {}, "k", when)]),
    "replace_many": lambda d, when: d.replace_many([TaskCall(double, (1,), {}, "k", when)]),
    "schedule": lambda d, when: d.schedule(Execution(d, double, (1,), {}, "k", when, 1)),
    "Execution.schedule": lambda d, when: Execution(d, double, (1,), {}, "k", when, 1).schedule(),
    "reschedule": lambda d, when: Execution(d, double, (1,), {}, "k", when, 1).schedule(
        reschedule_message="h1"
    ),
    "claim": lambda d, when: Execution(d, double, (1,), {}, "k", when, 1).claim("me"),
    "mark_as_completed": lambda d, when: Execution(
        d, double, (1,), {}, "k", when, 1
    ).mark_as_completed(),
    "scatter": lambda d, when: agenda_of_one().scatter(d, LATER, when),
    "deadline": lambda d, when: Execution(
        d, double, (1,), {}, "k", datetime.now(UTC), 1
    ).get_result(deadline=when),
    "Perpetual.at": lambda _, when: called(Perpetual().at, when),
    "Retry.at": lambda _, when: called(Retry(attempts=2).at, when),
}


async def called(function: Callable[[Any], object], value: object) -> None:
    function(value)


def agenda_of_one() -> Agenda:
    agenda = Agenda()
    agenda.add(double, key="k")(1)
    return agenda


@pytest.mark.parametrize("taker", INSTANT_TAKERS)
@pytest.mark.parametrize(("value", "words"), NO_INSTANTS, ids=lambda v: type(v).__name__)
async def test_what_names_no_instant_is_refused_wherever_one_is_taken(
    docket: Docket, taker: str, value: object, words: str
) -> None:
    docket.register(double)

    with pytest.raises(TypeError, match=words):
        await INSTANT_TAKERS[taker](docket, value)

    assert await docket.get_execution("k") is None
    assert (await docket.snapshot()).total_tasks == 0


DURATION_TAKERS: dict[str, Callable[[Any], object]] = {
    "Perpetual": lambda v: Perpetual(every=v),
    "Perpetual.after": lambda v: Perpetual().after(v),
    "Retry": lambda v: Retry(delay=v),
    "Retry.forever": Retry.forever,
    "Retry.after": lambda v: Retry(attempts=2).after(v),
    "Retry.in_": lambda v: Retry(attempts=2).in_(v),
    "ExponentialRetry": lambda v: ExponentialRetry(minimum_delay=v),
    "its maximum": lambda v: ExponentialRetry(maximum_delay=v),
    "Timeout": Timeout,
    "Cooldown": Cooldown,
    "Debounce": Debounce,
    "RateLimit": lambda v: RateLimit(1, per=v),
    "heartbeat_interval": lambda v: Docket(heartbeat_interval=v),
    "execution_ttl": lambda v: Docket(execution_ttl=v),
    "redelivery_timeout": lambda v: Worker(Docket(), redelivery_timeout=v),
    "reconnection_delay": lambda v: Worker(Docket(), reconnection_delay=v),
    "minimum_check_interval": lambda v: Worker(Docket(), minimum_check_interval=v),
    "scheduling_resolution": lambda v: Worker(Docket(), scheduling_resolution=v),
    "AdmissionBlocked": lambda v: AdmissionBlocked(
        Execution(Docket(), double, (1,), {}, "k", datetime.now(UTC), 1), retry_delay=v
    ),
}


@pytest.mark.parametrize("taker", DURATION_TAKERS)
@pytest.mark.parametrize(("value", "words"), NO_DURATIONS, ids=lambda v: type(v).__name__)
def test_what_is_no_duration_is_refused_wherever_one_is_taken(
    taker: str, value: object, words: str
) -> None:
    with pytest.raises(TypeError, match=words):
        DURATION_TAKERS[taker](value)


@pytest.mark.parametrize("taker", DURATION_TAKERS)
def test_a_duration_of_another_library_is_taken_everywhere(
    taker: str, five_seconds: timedelta
) -> None:
    with suppress(ForcedRetry):
        DURATION_TAKERS[taker](five_seconds)


@pytest.mark.parametrize(("value", "words"), NO_DURATIONS, ids=lambda v: type(v).__name__)
async def test_what_is_no_duration_is_refused_by_an_agenda_and_by_who_waits(
    docket: Docket, value: Any, words: str
) -> None:
    execution = await docket.add(double)(1)

    with pytest.raises(TypeError, match=f"over {words}"):
        await agenda_of_one().scatter(docket, value)
    with pytest.raises(TypeError, match=f"jitter {words}"):
        await agenda_of_one().scatter(docket, LATER, jitter=value)
    with pytest.raises(TypeError, match=f"timeout {words}"):
        await execution.get_result(timeout=value)
    assert (await docket.snapshot()).total_tasks == 1


async def test_arguments_of_tasks_are_no_instants_and_stay_as_they_are(docket: Docket) -> None:
    async def echo(*values: object) -> tuple[object, ...]:
        return values

    values = (pendulum.naive(2030, 1, 1), datetime(2030, 1, 1), pendulum.now("UTC"))  # noqa: DTZ001
    execution = await docket.add(echo)(*values)
    await finish(docket)

    assert await result_of(execution) == values
