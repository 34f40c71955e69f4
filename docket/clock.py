"""Instants and durations: as callers give them, and as they are stored."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: Ten thousand years, as which any longer duration (timedelta.max, for "for ever") is taken: they
#: still fit the numbers of the server's scripts and the timers of event loops.
LONGEST = timedelta(days=3_652_500)
_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
EARLIEST_MICROSECOND = (_EARLIEST - EPOCH) // _MICROSECOND
LATEST_MICROSECOND = (_LATEST - EPOCH) // _MICROSECOND
# The library's own methods: subclasses of other libraries define subtraction and addition in ways
# of their own, and a test may replace `datetime` in this module (freezegun).
_subtract, _as_timedelta = datetime.__sub__, timedelta.__pos__


def now() -> datetime:
    """Return this process's time, timezone-aware, to compare with instants that callers choose."""
    return datetime.now(UTC)


# What callers give ------------------------------------------------------------------------


def aware(name: str, instant: object) -> datetime:
    """Return an instant that a caller gave, as it is.

    Args:
        name: the name of the argument, for the error.
        instant: a datetime, or an instance of a subclass (pendulum's, pandas').

    Raises:
        TypeError: it is no datetime, or a naive one, which names no instant.
    """
    if type(instant) is datetime and instant.tzinfo is UTC:
        return instant  # Most of them; the rest takes four times as long.
    if not isinstance(instant, datetime):
        remedy = ": add it to datetime.now(timezone.utc)" if isinstance(instant, timedelta) else ""
        raise TypeError(f"{name} must be a datetime, not {_described(instant)}{remedy}")
    if instant.utcoffset() is None:
        raise TypeError(
            f"{name} must be a timezone-aware datetime, not the naive {instant!r}: write "
            "datetime.now(timezone.utc) instead of utcnow() or now()"
        )
    return instant


def duration(name: str, length: object) -> timedelta:
    """Return a duration that a caller gave, as a plain timedelta.

    Args:
        name: the name of the argument, for the error.
        length: a timedelta, or an instance of a subclass (pendulum's, pandas').

    Raises:
        TypeError: it is no timedelta.
    """
    if not isinstance(length, timedelta):
        remedy = f": write timedelta(seconds={length})" if _is_number(length) else ""
        raise TypeError(f"{name} must be a timedelta, not {_described(length)}{remedy}")
    return length if type(length) is timedelta else _as_timedelta(length)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def whole(name: str, number: object) -> int:
    """Return a number that a caller gave; raises TypeError if it is no whole number."""
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"{name} must be a whole number, not {_described(number)}")
    return number


def time_until(name: str, instant: object) -> timedelta:
    """Return the time from now, by our clock, to an instant that a caller gave; see `aware`."""
    return _subtract(aware(name, instant), now())


def _described(value: object) -> str:
    of = type(value)
    name = of.__qualname__ if of.__module__ == "builtins" else f"{of.__module__}.{of.__qualname__}"
    return f"{name} ({value!r})"


# The stored form --------------------------------------------------------------------------


def stored(instant: datetime) -> int | str:
    """Return an aware instant as records and events hold it.

    That is its microseconds since the epoch. One that was given in another time zone than UTC has
    its ISO text behind them, which events show.
    """
    if instant.tzinfo is UTC:
        return _subtract(instant, EPOCH) // _MICROSECOND
    microseconds = to_microseconds(instant)
    if not instant.utcoffset():
        return microseconds
    return f"{microseconds} {instant.isoformat()}"


def microseconds_of(stored_instant: bytes) -> int:
    """Return the microseconds since the epoch of a stored instant."""
    return int(stored_instant.partition(b" ")[0])


def score_milliseconds(score: bytes) -> int:
    """Return the milliseconds of a sorted set's score, which may be infinite."""
    return int(min(max(float(score), 0.0), LATEST_MICROSECOND / 1000))


def to_microseconds(instant: datetime) -> int:
    """Return the microseconds from the epoch to an aware instant."""
    microseconds = _subtract(instant, EPOCH) // _MICROSECOND
    if EARLIEST_MICROSECOND <= microseconds <= LATEST_MICROSECOND:
        return microseconds
    # Those of a time zone may be out of range in UTC.
    return EARLIEST_MICROSECOND if microseconds < 0 else LATEST_MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Return the timezone-aware (UTC) instant of a stored number of microseconds."""
    if not EARLIEST_MICROSECOND < microseconds < LATEST_MICROSECOND:
        return _EARLIEST if microseconds < 0 else _LATEST
    return EPOCH + timedelta(0, 0, microseconds)


def delay_microseconds(seconds: float) -> int:
    """Return a delay in microseconds, never negative."""
    return min(max(0, round(seconds * 1_000_000)), LATEST_MICROSECOND)


def delay_milliseconds(delay: timedelta) -> int:
    """Return a duration in milliseconds, never negative, at most LONGEST."""
    return max(0, round(min(delay, LONGEST).total_seconds() * 1000))


def format_duration(seconds: float) -> str:
    """Format a duration for logs, eight characters wide: in milliseconds below 100 seconds."""
    if seconds < 100:
        return f"{seconds * 1000:6.0f}ms"
    return f"{seconds:6.0f}s "
