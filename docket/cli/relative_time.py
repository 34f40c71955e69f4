"""Instants as people read them, seen from another instant."""

from datetime import datetime, timedelta

#: Further away than this, an instant is shown as itself.
_NEAR = timedelta(hours=1)


def relative(moment: datetime, now: datetime) -> str:
    """`0:00:05 ago`, `in 0:00:05`, or `at 2026-01-31 12:00:00 +0000` if it is an hour away."""
    distance = moment - now
    if abs(distance) >= _NEAR:
        return f"at {absolute(moment)}"
    return f"{-distance} ago" if distance < timedelta(0) else f"in {distance}"


def absolute(moment: datetime) -> str:
    """`2026-01-31 12:00:00 +0000`, in the time zone of this machine."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
