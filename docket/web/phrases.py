"""Times, durations and numbers in the words of the pages (pure)."""

from datetime import UTC, datetime

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60))
_BYTES = ("B", "KB", "MB", "GB", "TB", "PB")


def brief(seconds: float | None) -> str:
    """Return `12 ms`, `1.3 s`, `3m 10s`, `2h 5m` or `4d 3h`; a dash for None."""
    if seconds is None:
        return "–"
    if seconds < 0:
        return f"-{brief(-seconds)}"
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms" if seconds >= 0.0095 else f"{1000 * seconds:.2g} ms"
    if seconds < 59.5:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    return _in_two_units(round(seconds))


def _in_two_units(seconds: int) -> str:
    for place, (letter, size) in enumerate(_UNITS):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            lower, lower_size = _UNITS[place + 1] if place + 1 < len(_UNITS) else ("s", 1)
            below = rest // lower_size
            return f"{whole}{letter} {below}{lower}" if below else f"{whole}{letter}"
    return f"{seconds} s"


def relative(at: datetime, now: datetime) -> str:
    """Return `3m 10s ago`, `in 2h` or `now`."""
    seconds = (at - now).total_seconds()
    if abs(seconds) < 1:
        return "now"
    length = _in_two_units(int(abs(seconds)))
    return f"in {length}" if seconds > 0 else f"{length} ago"


def absolute(at: datetime) -> str:
    """Return an instant to the second, in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def number(value: float | None) -> str:
    """Return a number with separators; a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if value >= 100 or not value else f"{value:.{1 if value >= 1 else 2}f}"


def percent(part: float | None) -> str:
    """Return `0.3%`; a dash for None."""
    if part is None:
        return "–"
    return f"{part:.0%}" if part in (0, 1) or part >= 0.1 else f"{part:.1%}"


def size(number_of_bytes: float | None) -> str:
    """Return `48.3 MB`; a dash for None."""
    if number_of_bytes is None:
        return "–"
    value, *larger = float(number_of_bytes), *_BYTES
    while value >= 999.5 and len(larger) > 1:
        value, larger = value / 1000, larger[1:]
    return f"{value:.3g} {larger[0]}"


def tasks(count: int) -> str:
    """Return `1 task` or `1,200 tasks`."""
    return f"{count:,} task{'' if count == 1 else 's'}"
