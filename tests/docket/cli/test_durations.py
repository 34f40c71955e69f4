"""Durations as they are typed."""

from datetime import timedelta

import click
import pytest

from docket.cli.durations import DURATION, parse


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("100ms", timedelta(milliseconds=100)),
        ("5s", timedelta(seconds=5)),
        ("1.5s", timedelta(seconds=1.5)),
        ("10m", timedelta(minutes=10)),
        ("1h", timedelta(hours=1)),
        ("2d", timedelta(days=2)),
        (" 5 S ", timedelta(seconds=5)),
        ("5", timedelta(seconds=5)),
        ("01:02:03", timedelta(hours=1, minutes=2, seconds=3)),
        ("02:03", timedelta(minutes=2, seconds=3)),
        pytest.param("120:00", timedelta(hours=2), marks=pytest.mark.statement(12)),
        pytest.param("1:120", timedelta(minutes=3), marks=pytest.mark.statement(12)),
        pytest.param("1:200:00", timedelta(hours=4, minutes=20), marks=pytest.mark.statement(12)),
        ("100:00:00.5", timedelta(hours=100, seconds=0.5)),
    ],
)
def test_a_duration_is_read(text: str, duration: timedelta) -> None:
    assert parse(text) == duration
    assert DURATION.convert(text, None, None) == duration


@pytest.mark.parametrize("text", ["", "soon", "-5s", "5 parsecs", "1:2:3:4", "ms", "٥s", "1e3s"])
def test_something_else_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(
        ValueError, match="is not a duration such as 100ms, 5s, 10m, 1h or HH:MM:SS"
    ):
        parse(text)
    with pytest.raises(click.BadParameter, match="100ms, 5s, 10m, 1h or HH:MM:SS"):
        DURATION.convert(text, None, None)


def test_a_duration_that_nothing_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="too long a duration"):
        parse("9" * 20 + "h")


def test_a_default_that_is_a_duration_already_stays_as_it_is() -> None:
    assert DURATION.convert(timedelta(seconds=1), None, None) == timedelta(seconds=1)
