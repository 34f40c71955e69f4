"""Instants relative to another one, in readable form."""

from datetime import datetime, timedelta

#: An instant further away than this is shown as an absolute time.
_NEAR = timedelta(minutes=30)


def relative(moment: datetime, now: datetime) -> str:
    """Return `0:00:05 ago`, `in 0:00:05`, or, if far away, `at 2026-01-31 12:00:00 +0000`.

    A distance is in whole seconds: those that have begun do not count.
    """
    distance = moment - now
    if abs(distance) > _NEAR:
        return f"at {absolute(moment)}"
    whole = timedelta(seconds=int(abs(distance).total_seconds()))
    return f"{whole} ago" if distance < timedelta(0) else f"in {whole}"


def absolute(moment: datetime) -> str:
    """Return `2026-01-31 12:00:00 +0000`, in the time zone of this machine."""
    try:
        moment = moment.astimezone()
    except (OverflowError, ValueError, OSError):
        pass  # Of the first and the last days of all that there are; somebody else wrote it.
    return moment.strftime("%Y-%m-%d %H:%M:%S %z")
