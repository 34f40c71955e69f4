"""The fields of a record as values."""

from __future__ import annotations

from datetime import datetime

from docket.clock import from_microseconds, microseconds_of
from docket.errors import DeserializationError
from docket.lifecycle import ExecutionState

#: Bytes of a malformed field that an error shows.
_SHOWN = 80


def malformed(what: str, value: bytes | None) -> DeserializationError:
    """Make the error for a field that is not as ours write it."""
    shown = "is missing" if value is None else f"is {value[:_SHOWN]!r}"
    return DeserializationError(f"A record is malformed: its {what} {shown}")


def microseconds(value: bytes | None) -> int:
    """Read an instant as microseconds. Raises DeserializationError, as all of these do."""
    try:
        return microseconds_of(value or b"")
    except ValueError:
        raise malformed("instant", value) from None


def instant(value: bytes | None) -> datetime | None:
    """Read an instant; None if it is not set."""
    return from_microseconds(microseconds(value)) if value else None


def number(what: str, value: bytes | None, default: int | None = None) -> int:
    """Read a whole number; the default if it is not set and there is one."""
    if value is None and default is not None:
        return default
    try:
        return int(value or b"")
    except ValueError:
        raise malformed(what, value) from None


def state(value: bytes) -> ExecutionState:
    """Read the state."""
    try:
        return ExecutionState(value.decode(errors="replace"))
    except ValueError:
        raise malformed("state", value) from None


def iso_text(value: bytes | None) -> str | None:
    """Write an instant in ISO format, in the time zone that it was given in; None if not set."""
    if not value:
        return None
    at, _, given = value.partition(b" ")
    try:
        return given.decode() or from_microseconds(int(at)).isoformat()
    except ValueError:
        raise malformed("instant", value) from None


def text(value: bytes | None) -> str | None:
    """Read a text; None if it is not set."""
    return value.decode(errors="replace") if value is not None else None
