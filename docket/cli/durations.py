"""Durations as users write them: `100ms`, `5s`, `10m`, `1h`, `00:05:00`."""

import re
from datetime import timedelta

import click

#: The accepted forms, for the message about a malformed duration.
ACCEPTED = "a duration such as 100ms, 5s, 10m, 1h or HH:MM:SS"

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIMPLE = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", re.ASCII)
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", re.ASCII)


def parse(text: str) -> timedelta:
    """Parse a duration; a number without a unit is in seconds.

    Raises:
        ValueError: `text` has none of the accepted forms, or exceeds a timedelta.
    """
    stripped = text.strip().lower()
    try:
        if simple := _SIMPLE.fullmatch(stripped):
            return timedelta(seconds=float(simple[1]) * _UNITS[simple[2] or "s"])
        if clock := _CLOCK.fullmatch(stripped):
            hours, minutes, seconds = int(clock[1] or 0), int(clock[2]), float(clock[3])
            return timedelta(hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError as error:
        raise ValueError(f"{text!r} is too long a duration") from error
    raise ValueError(f"{text!r} is not {ACCEPTED}")


class Duration(click.ParamType[timedelta]):
    """The parameter type of a duration."""

    name = "duration"

    def convert(
        self,
        value: str | timedelta,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            return parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = Duration()
