"""Instants as the store keeps them: whole milliseconds since the epoch, by the server."""

from datetime import UTC, datetime, timedelta
from typing import cast

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
#: The last whole millisecond that a datetime can hold: "never" of those who write datetime.max.
LAST_MILLISECOND = (_LATEST - EPOCH) // MILLISECOND


def now() -> datetime:
    """This process's clock, timezone-aware: for instants that callers choose."""
    return datetime.now(UTC)


def to_milliseconds(instant: datetime) -> int:
    """Milliseconds since the epoch, rounded up: nothing runs before its time.

    A naive datetime is taken as local time, as the standard library does.
    """
    return min(-(-(_in_utc(instant) - EPOCH) // MILLISECOND), LAST_MILLISECOND)


def _in_utc(instant: datetime) -> datetime:
    try:
        return instant.astimezone(UTC)
    except (OverflowError, ValueError):
        # "Never" and "ever" of those who write datetime.max and datetime.min, and live elsewhere.
        return _LATEST if instant.year > EPOCH.year else _EARLIEST


def due_milliseconds(instant: datetime) -> int:
    """When a task is due that is to run at an instant, in milliseconds since the epoch.

    What is past by this process's clock is so for the server too: rounded up, it might lie ahead.

    Raises:
        TypeError: it is no datetime.
    """
    if not isinstance(cast("object", instant), datetime):
        raise TypeError(f"`when` is a datetime, not {instant!r}: nothing was scheduled")
    milliseconds = to_milliseconds(instant)
    is_past = _in_utc(instant) <= now()
    return min(milliseconds, to_milliseconds(now()) - 1) if is_past else milliseconds


def from_milliseconds(milliseconds: int) -> datetime:
    """The timezone-aware (UTC) instant of a stored number of milliseconds."""
    return EPOCH + min(milliseconds, LAST_MILLISECOND) * MILLISECOND


def delay_milliseconds(delay: timedelta | float) -> int:
    """A delay (timedelta, or seconds) as milliseconds, never negative."""
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    return max(0, round(seconds * 1000))


def format_duration(seconds: float) -> str:
    """A duration as logs show it, eight characters wide: milliseconds below a second."""
    if abs(seconds) < 1:
        return f"{seconds * 1000:6.0f}ms"
    return f"{seconds:6.1f}s "
