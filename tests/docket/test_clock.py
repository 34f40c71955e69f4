"""Instants and durations as callers give them, and as they are stored: to the microsecond."""

from datetime import UTC, date, datetime, timedelta, timezone, tzinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docket.clock import (
    EPOCH,
    aware,
    delay_microseconds,
    delay_milliseconds,
    duration,
    from_microseconds,
    microseconds_of,
    now,
    stored,
    time_until,
    to_microseconds,
)

VIENNA = timezone(timedelta(hours=1))


@given(st.timedeltas(timedelta(days=-700_000), timedelta(days=2_000_000)), st.timezones())
def test_an_instant_comes_back_as_the_same(since_epoch: timedelta, zone: tzinfo) -> None:
    instant = (EPOCH + since_epoch).astimezone(zone)

    assert from_microseconds(to_microseconds(instant)) == instant
    assert from_microseconds(microseconds_of(str(stored(instant)).encode())) == instant


def test_now_is_aware() -> None:
    assert now().tzinfo is UTC


@pytest.mark.parametrize("hours", [-12, 0, 14])
def test_never_and_ever_are_instants_in_every_timezone(hours: int) -> None:
    there = timezone(timedelta(hours=hours))
    latest, earliest = datetime.max.replace(tzinfo=there), datetime.min.replace(tzinfo=there)

    assert from_microseconds(to_microseconds(latest)).year == 9999
    assert from_microseconds(to_microseconds(earliest)).year == 1
    assert from_microseconds(10**30) == datetime.max.replace(tzinfo=UTC)
    assert from_microseconds(-(10**30)) == datetime.min.replace(tzinfo=UTC)


def test_an_instant_of_another_zone_than_utc_is_stored_with_its_text() -> None:
    instant = datetime(2026, 1, 31, 12, 0, 0, 17, VIENNA)

    assert stored(instant) == "1769857200000017 2026-01-31T12:00:00.000017+01:00"
    assert stored(instant.astimezone(UTC)) == 1769857200000017
    assert stored(instant.astimezone(timezone(timedelta(0), "GMT"))) == 1769857200000017


@pytest.mark.parametrize(
    "naive",
    [datetime(2026, 1, 1), datetime.max, datetime.min],  # noqa: DTZ001, DTZ901
    ids=str,
)
def test_a_naive_datetime_is_refused_since_it_names_no_instant(naive: datetime) -> None:
    with pytest.raises(TypeError, match="when must be a timezone-aware datetime, not the naive"):
        aware("when", naive)
    with pytest.raises(TypeError, match="deadline must be a timezone-aware"):
        time_until("deadline", naive)


def test_a_zone_that_knows_no_offset_makes_no_instant() -> None:
    class Nowhere(tzinfo):
        def utcoffset(self, dt: datetime | None, /) -> None:
            return None

    with pytest.raises(TypeError, match="timezone-aware"):
        aware("when", datetime(2026, 1, 1, tzinfo=Nowhere()))


@pytest.mark.parametrize(
    ("value", "name"),
    [(None, "NoneType"), ("soon", "str"), (17, "int"), (date(2026, 1, 1), "datetime.date")],
)
def test_what_is_no_datetime_is_refused_by_the_name_of_its_type(value: object, name: str) -> None:
    with pytest.raises(TypeError, match=f"start must be a datetime, not {name}"):
        aware("start", value)


@pytest.mark.parametrize(("value", "name"), [(None, "NoneType"), (5, "int"), (0.5, "float")])
def test_what_is_no_timedelta_is_refused_by_the_name_of_its_type(value: object, name: str) -> None:
    with pytest.raises(TypeError, match=f"every must be a timedelta, not {name}"):
        duration("every", value)


def test_a_length_given_as_an_instant_and_a_number_as_a_length_are_told_what_to_write() -> None:
    with pytest.raises(TypeError, match=r": add it to datetime\.now\(timezone\.utc\)$"):
        aware("when", timedelta(seconds=5))
    with pytest.raises(TypeError, match=r": write timedelta\(seconds=0\.5\)$"):
        duration("timeout", 0.5)


def test_an_instant_is_given_back_as_it_is() -> None:
    instant = datetime(2026, 1, 1, tzinfo=VIENNA)

    assert aware("when", instant) is instant
    assert timedelta(hours=1) < time_until("when", now() + timedelta(hours=2)) < timedelta(hours=3)
    assert time_until("when", instant - timedelta(days=36500)) < timedelta(0)


def test_a_delay_is_whole_microseconds_and_never_negative() -> None:
    assert delay_microseconds(1.5) == 1_500_000
    assert delay_microseconds(0.0000016) == 2
    assert delay_microseconds(-1.0) == 0
    assert delay_microseconds(timedelta.max.total_seconds()) == to_microseconds(
        datetime.max.replace(tzinfo=UTC)
    )


def test_a_duration_is_whole_milliseconds_and_never_negative() -> None:
    assert delay_milliseconds(timedelta(seconds=1.5)) == 1500
    assert delay_milliseconds(timedelta(seconds=0.0016)) == 2
    assert delay_milliseconds(timedelta(seconds=-1)) == 0
