"""Instants as stored: whole milliseconds since the epoch, by the server's clock."""

from datetime import UTC, datetime, timedelta
from typing import cast

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
#: Ten thousand years, as which any longer duration (timedelta.max, for "for ever") is taken: they
#: still fit the numbers of the server's scripts and the timers of event loops.
LONGEST = timedelta(days=3_652_500)
_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
#: The last whole millisecond that a datetime can hold: the stored form of datetime.max ("never").
LAST_MILLISECOND = (_LATEST - EPOCH) // MILLISECOND


def now() -> datetime:
    """Return this process's time, timezone-aware, to compare with instants that callers choose."""
    return datetime.now(UTC)


def to_milliseconds(instant: datetime) -> int:
    """Return milliseconds since the epoch, rounded up: nothing runs before its time.

    A naive datetime is taken as local time, as in the standard library.
    """
    return min(-(-(_in_utc(instant) - EPOCH) // MILLISECOND), LAST_MILLISECOND)


def _in_utc(instant: datetime) -> datetime:
    try:
        return instant.astimezone(UTC)
    except (OverflowError, ValueError):
        # datetime.max or datetime.min in a time zone in which UTC is out of range.
        return _LATEST if instant.year > EPOCH.year else _EARLIEST


def due_milliseconds(instant: datetime) -> int:
    """Return the due time of a task for an instant, in milliseconds since the epoch.

    An instant that is past by this process's clock must be past for the server too; rounded up, it
    might be in the future.

    Raises:
        TypeError: it is no datetime.
    """
    if not isinstance(cast("object", instant), datetime):
        raise TypeError(f"`when` is a datetime, not {instant!r}: nothing was scheduled")
    milliseconds = to_milliseconds(instant)
    is_past = _in_utc(instant) <= now()
    return min(milliseconds, to_milliseconds(now()) - 1) if is_past else milliseconds


def from_milliseconds(milliseconds: int) -> datetime:
    """Return the timezone-aware (UTC) instant of a stored number of milliseconds."""
    return EPOCH + min(milliseconds, LAST_MILLISECOND) * MILLISECOND


def delay_milliseconds(delay: timedelta | float) -> int:
    """Return a delay (timedelta, or seconds) in milliseconds, never negative, at most LONGEST."""
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    return max(0, round(min(seconds, LONGEST.total_seconds()) * 1000))


def format_duration(seconds: float) -> str:
    """Format a duration for logs, eight characters wide: in milliseconds below a second."""
    if abs(seconds) < 1:
        return f"{seconds * 1000:6.0f}ms"
    return f"{seconds:6.1f}s "
