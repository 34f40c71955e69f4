"""The claims in the replies of the scripts, as values."""

import math
from typing import Any

import msgspec

from docket.clock import EARLIEST_MICROSECOND, LATEST_MICROSECOND, microseconds_of
from docket_display.printable import decoded

#: Above any attempt or number of deaths.
_MOST = 2**53
#: A generation has fewer digits, and so have most instants.
_DIGITS = 17
#: Bytes of a malformed field that are shown.
_SHOWN = 80


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A claimed task; `when` and `started_at` in server microseconds.

    suspect_seconds: how long this run is suspected of ending like the one under which a process
        died; for a task that is not quarantined 0, and infinite if it is not known.
    fault: what is wrong with its record, which somebody else has written; such a task can only be
        failed. None for a sound one.
    """

    key: bytes
    entry: bytes
    generation: bytes
    function: bytes
    call: bytes
    when: int
    attempt: int
    deaths: int
    came_from: bytes | None
    trace: bytes | None
    started_at: int
    suspect_seconds: float = 0.0
    fault: str | None = None


def read_claims(flat: list[Any], now: int) -> list[Claim]:
    """Read the claims in a reply, `now` the server's time in microseconds; see _claim.lua."""
    claims: list[Claim] = []
    for fields in zip(*[iter(flat)] * 10, strict=True):
        key, entry, generation, function, call, when, attempt, deaths, came_from, trace = fields
        try:
            is_usual = (
                attempt == b"1"
                and not deaths
                and when.isdigit()
                and len(when) < _DIGITS
                and generation.isdigit()
                and len(generation) < _DIGITS
                and key.isascii()
                and function.isascii()
                and isinstance(call, bytes)
            )
        except AttributeError:  # a field may not be there
            is_usual = False
        if is_usual:
            due = int(when)
            claim = Claim(key, entry, generation, function, call, due, 1, 0, came_from, trace, now)
        else:
            claim = _unusual(fields, now)
        claims.append(claim)
    return claims


def _unusual(fields: tuple[Any, ...], now: int) -> Claim:
    """Read a claim of any shape: to look at each this closely would cost the drain a tenth."""
    key, entry, generation, function, call, when, attempt, deaths, came_from, trace = fields
    try:
        due, tried = microseconds_of(when), int(attempt)
        died, suspect_seconds = _suspicion(deaths) if deaths else (0, 0.0)
        is_sound = (
            generation.isdigit()
            and len(generation) < _DIGITS
            and is_text(key)
            and is_text(function)
            and EARLIEST_MICROSECOND <= due <= LATEST_MICROSECOND
            and 0 <= tried < _MOST
            and 0 <= died < _MOST
            and isinstance(call, bytes)
        )
    except (AttributeError, TypeError, ValueError):
        return _malformed(fields, now)
    if not is_sound:
        return _malformed(fields, now)
    return Claim(
        key,
        entry,
        generation,
        function,
        call,
        due,
        tried,
        died,
        came_from,
        trace,
        now,
        suspect_seconds,
    )


def _suspicion(deaths: bytes) -> tuple[int, float]:
    count, quarantined, milliseconds = deaths.partition(b" ")
    if not quarantined:
        return int(count), 0.0
    return int(count), int(milliseconds) / 1000 if milliseconds else math.inf


def _malformed(fields: tuple[Any, ...], now: int) -> Claim:
    key, entry, generation, function, call, when, attempt, deaths, _, _ = fields
    read = {
        "key": key,
        "generation": generation,
        "function": function,
        "when": when,
        "attempt": attempt,
        "deaths": deaths,
    }
    if call is None:
        read["call"] = None
    fault = ", ".join(f"{name} {_shown(value)}" for name, value in read.items())
    name = decoded(function or b"").encode()
    return Claim(key, entry, generation or b"", name, b"", now, 1, 0, None, None, now, fault=fault)


def is_text(name: bytes) -> bool:
    """Return True for UTF-8."""
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shown(value: bytes | None) -> str:
    return "missing" if value is None else repr(value[:_SHOWN])[1:]
