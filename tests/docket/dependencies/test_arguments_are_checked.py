"""The arguments of dependencies are checked where they are written."""

from datetime import UTC, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from docket import (
    ConcurrencyLimit,
    Cooldown,
    Cron,
    Debounce,
    ExponentialRetry,
    Perpetual,
    RateLimit,
    Retry,
    Timeout,
)

SECOND = timedelta(seconds=1)
WRONG: Any = "1"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Cron("* * * * *", tz="Europe/Atlantis"), "Europe/Atlantis"),
        (lambda: Cron("* * * * *", tz=""), "tz of a Cron"),
        (lambda: Cron("* * * * *", tz="../etc/passwd"), "tz of a Cron"),
        (lambda: Cron("61 * * * *"), "61"),
        (lambda: Retry(attempts=-1), "attempts"),
        (lambda: Retry(delay=-SECOND), "delay"),
        (lambda: ExponentialRetry(attempts=-2), "attempts"),
        (lambda: ExponentialRetry(maximum_delay=-SECOND), "maximum_delay"),
        (lambda: Perpetual(every=-SECOND), "every"),
        (lambda: Timeout(timedelta(0)), "timeout"),
        (lambda: RateLimit(0, per=SECOND), "limit"),
        (lambda: RateLimit(1, per=-SECOND), "period"),
        (lambda: ConcurrencyLimit("a", 0), "max_concurrent"),
        (lambda: Cooldown(-SECOND), "window"),
        (lambda: Debounce(-SECOND), "settle"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Cron("* * * * *", tz=5),  # type: ignore[arg-type]
        lambda: Cron(b"* * * * *"),  # type: ignore[arg-type]
        lambda: Retry(attempts=WRONG),
        lambda: Retry(attempts=1.5),  # type: ignore[arg-type]
        lambda: Retry(delay=WRONG),
        lambda: Perpetual(every=WRONG),
        lambda: Timeout(WRONG),
        lambda: RateLimit(WRONG, per=SECOND),
        lambda: RateLimit(1, per=WRONG),
        lambda: RateLimit(1, per=SECOND, scope=5),  # type: ignore[arg-type]
        lambda: ConcurrencyLimit("a", WRONG),
        lambda: ConcurrencyLimit(1.5),  # type: ignore[arg-type]
        lambda: Cooldown(WRONG),
        lambda: Debounce(WRONG),
    ],
)
def test_a_value_of_another_type_is_refused(make: Any) -> None:
    with pytest.raises(TypeError):
        make()


def test_the_name_of_a_time_zone_stands_for_it() -> None:
    assert Cron("* * * * *", tz="Europe/Vienna").tz == ZoneInfo("Europe/Vienna")
    assert Cron("* * * * *", tz="Asia/Kolkata").next_time().tzinfo == ZoneInfo("Asia/Kolkata")
    assert Cron("* * * * *").tz is UTC
    east = timezone(timedelta(hours=1))
    assert Cron("* * * * *", tz=east).tz is east


def give_every(perpetual: Perpetual) -> None:
    perpetual.every = WRONG


@pytest.mark.parametrize("give", [give_every, lambda p: p.after(WRONG), lambda p: p.at(WRONG)])
def test_a_perpetual_checks_what_a_run_gives_it(give: Any) -> None:
    perpetual = Perpetual()
    with pytest.raises(TypeError):
        give(perpetual)
    assert perpetual.every == timedelta(0)
