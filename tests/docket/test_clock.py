"""Instants as whole milliseconds: never early, never out of range."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docket.clock import (
    EPOCH,
    delay_milliseconds,
    due_milliseconds,
    from_milliseconds,
    now,
    to_milliseconds,
)


@pytest.fixture
def in_kathmandu() -> Iterator[None]:
    """The process lives where no whole number of hours separates it from UTC."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Asia/Kathmandu"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@given(st.timedeltas(timedelta(days=-700_000), timedelta(days=2_000_000)), st.timezones())
def test_an_instant_comes_back_as_the_same_or_less_than_a_millisecond_later(
    since_epoch: timedelta, zone: tzinfo
) -> None:
    instant = (EPOCH + since_epoch).astimezone(zone)

    again = from_milliseconds(to_milliseconds(instant))

    assert timedelta(0) <= again - instant.astimezone(UTC) < timedelta(milliseconds=1)


def test_now_is_aware() -> None:
    assert now().tzinfo is UTC


@pytest.mark.usefixtures("in_kathmandu")
def test_a_naive_instant_is_local_time() -> None:
    aware = datetime(2024, 1, 1, 12, 0, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    naive = aware.replace(tzinfo=None)

    assert to_milliseconds(naive) == to_milliseconds(aware)


def test_the_last_instant_of_all_comes_back_instead_of_overflowing() -> None:
    last = datetime.max.replace(tzinfo=UTC)

    assert last - from_milliseconds(to_milliseconds(last)) < timedelta(milliseconds=1)
    assert from_milliseconds(10**17) == from_milliseconds(to_milliseconds(last))


@pytest.mark.parametrize("hours", [-12, 14])
def test_never_and_ever_are_instants_in_every_timezone(hours: int) -> None:
    there = timezone(timedelta(hours=hours))
    latest, earliest = datetime.max.replace(tzinfo=there), datetime.min.replace(tzinfo=there)

    assert from_milliseconds(to_milliseconds(latest)).year == 9999
    assert due_milliseconds(earliest) < 0


@pytest.mark.usefixtures("in_kathmandu")
def test_a_naive_first_instant_of_all_is_past_wherever_one_is() -> None:
    assert due_milliseconds(datetime.min) < 0  # noqa: DTZ901


def test_a_delay_is_whole_milliseconds_and_never_negative() -> None:
    assert delay_milliseconds(timedelta(seconds=1.5)) == 1500
    assert delay_milliseconds(0.0016) == 2
    assert delay_milliseconds(timedelta(seconds=-1)) == 0
