"""The fields of a record as values."""

from __future__ import annotations

from datetime import datetime

from docket.clock import from_milliseconds


def instant(value: bytes | None) -> datetime | None:
    """Read an instant of the server's clock; None if it is not set."""
    return from_milliseconds(int(value)) if value else None


def text(value: bytes | None) -> str | None:
    """Read a text; None if it is not set."""
    return value.decode(errors="replace") if value is not None else None
