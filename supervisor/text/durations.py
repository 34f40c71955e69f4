"""Durations as operators write them: `100ms`, `5s`, `10m`, `1h`, `00:05:00`."""

import re
from datetime import timedelta

#: For messages about a duration that is not understood.
ACCEPTED = "a duration such as 100ms, 5s, 10m, 1h or HH:MM:SS"

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIMPLE = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", re.ASCII)
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", re.ASCII)


def parse(text: str) -> timedelta:
    """Parse a duration; a number without a unit is seconds.

    Raises:
        ValueError: `text` is none of the accepted forms, or longer than a timedelta holds.
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


def brief(seconds: float) -> str:
    """`seconds` for a log line, with a sensible precision: 12 ms, 1.5 s, 3m20s."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"


def age(seconds: float) -> str:
    """`seconds` since something began, in whole units: `12s`, `3m20s`, `3h12m`, `5d03h`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02d}h"
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
