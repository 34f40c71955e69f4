"""The fields of a record as values."""

from __future__ import annotations

from datetime import datetime

from docket.clock import from_microseconds, microseconds_of


def instant(value: bytes | None) -> datetime | None:
    """Read an instant; None if it is not set."""
    return from_microseconds(microseconds_of(value)) if value else None


def iso_text(value: bytes | None) -> str | None:
    """Write an instant in ISO format, in the time zone that it was given in; None if not set."""
    if not value:
        return None
    microseconds, _, given = value.partition(b" ")
    return given.decode() or from_microseconds(int(microseconds)).isoformat()


def text(value: bytes | None) -> str | None:
    """Read a text; None if it is not set."""
    return value.decode(errors="replace") if value is not None else None
