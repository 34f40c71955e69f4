"""Single values as msgpack with the names of their types: reading them executes nothing.

Unlike the arguments of a task, the value of a strike has no annotation that says its type. So it is
written beside it; the types are a fixed list, and nothing is looked up by a name that was read.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, Final, cast
from uuid import UUID

import msgspec

#: The types that msgpack itself keeps.
_PLAIN: Final = frozenset({type(None), bool, float, str, bytes})
#: The range of msgpack's integers.
_LEAST_INT, _GREATEST_INT = -(2**63), 2**64 - 1
#: Most members of a frozenset: hashes of numbers can be foreseen, and members whose hashes collide
#: take the square of their number to put together.
_MOST_MEMBERS: Final = 1000
#: The first bytes of an array and of a map in msgpack.
_ARRAYS: Final = frozenset({*range(0x90, 0xA0), 0xDC, 0xDD})
_MAPS: Final = frozenset({*range(0x80, 0x90), 0xDE, 0xDF})
#: Most bits of an int: of more than a few thousand digits Python makes no text.
_MOST_BITS: Final = 8192


class Untyped(TypeError):
    """A value of a type that is not in the list."""


def encode(value: object) -> bytes:
    """Encode a value; equal bytes for equal values of one type.

    Raises:
        Untyped: it, or what is in it, is of another type.
    """
    try:
        return msgspec.msgpack.encode(_node(value))
    except (UnicodeEncodeError, RecursionError) as error:
        raise Untyped(str(error)) from error


def decode(payload: bytes) -> Any:
    """Decode what `encode` made.

    Raises:
        Exception: the payload is none; of msgspec, or of the type that does not accept its text.
    """
    return _value(_parsed(payload))


def encode_plain(value: object) -> bytes:
    """Encode a value of msgpack's own types and tuples of them, without the names of types.

    Raises:
        Untyped: it, or what is in it, is of another type.
    """
    try:
        _check_plain(value)
        return msgspec.msgpack.encode(value)
    except (UnicodeEncodeError, RecursionError) as error:
        raise Untyped(str(error)) from error


def decode_plain(payload: bytes) -> Any:
    """Decode what `encode_plain` made; raises as `decode` does."""
    return _as_tuple(_parsed(payload))


def is_known(value: object) -> bool:
    """Return whether a value is of a type that can be encoded, whatever is in it."""
    return type(value) in _PLAIN or type(value) in _WRITERS


_parts_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])


def _parsed(payload: bytes | msgspec.Raw) -> Any:
    """Parse msgpack without maps: to build the dict of one whose keys collide takes for ever."""
    first = memoryview(payload)[:1].tobytes()
    if first and first[0] in _MAPS:
        raise ValueError("a map is no value of a strike")
    if first and first[0] in _ARRAYS:
        return [_parsed(part) for part in _parts_decoder.decode(payload)]
    return msgspec.msgpack.decode(payload)


def _check_plain(value: object) -> None:
    if type(value) is tuple:
        for item in cast("tuple[object, ...]", value):
            _check_plain(item)
    elif not _is_plain(value):
        raise Untyped(f"a {type(value).__qualname__}")


def _is_plain(value: object) -> bool:
    if type(value) is int:
        return _LEAST_INT <= value <= _GREATEST_INT
    return type(value) in _PLAIN


def _as_tuple(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_as_tuple(item) for item in cast("list[Any]", value))
    return value


# A node is a value of _PLAIN, an int in msgpack's range, or [name of the type, what it is made of].


def _node(value: object) -> object:
    if _is_plain(value):
        return value
    written = _WRITERS.get(type(value))
    if written is None:
        raise Untyped(f"a {type(value).__qualname__}")
    name, write = written
    return [name, *write(value)]


def _value(node: Any) -> Any:
    if not isinstance(node, list):
        return node
    name, *parts = cast("list[Any]", node)
    return _READERS[name](*parts)


def _write_datetime(value: datetime) -> Iterable[object]:
    # A zone is kept by its name: its offset at this instant is not the same thing.
    zone = _zone(value.tzinfo)
    written = value if zone is None else value.replace(tzinfo=None)
    return (written.isoformat(), value.fold, zone)


def _read_datetime(text: str, fold: int, zone: str | None) -> datetime:
    read = datetime.fromisoformat(text).replace(fold=fold)
    if zone is None:
        return read
    return read.replace(tzinfo=importlib.import_module("zoneinfo").ZoneInfo(zone))


def _zone(zone: tzinfo | None) -> str | None:
    """Return the name of a zone; None for a fixed offset, which is a part of the ISO text."""
    # Not imported here, since it takes long: nobody has a zone of it who has not.
    zoneinfo: Any = sys.modules.get("zoneinfo")
    if zoneinfo is not None and isinstance(zone, zoneinfo.ZoneInfo):
        key = cast("Any", zone).key
        if key:
            return str(key)
    if zone is None or type(zone) is timezone:
        return None
    raise Untyped(f"a zone that is a {type(zone).__qualname__}")


def _write_int(number: int) -> Iterable[object]:
    if number.bit_length() > _MOST_BITS:
        raise Untyped(f"an int of {number.bit_length()} bits")
    return (f"{number:x}",)


def _read_int(digits: str) -> int:
    number = int(digits, 16)
    _write_int(number)
    return number


def _write_time(value: time) -> Iterable[object]:
    if _zone(value.tzinfo) is not None:
        raise Untyped("a time of a named zone")
    return (value.isoformat(),)


def _write_frozenset(members: frozenset[object]) -> Iterable[object]:
    if len(members) > _MOST_MEMBERS:
        raise Untyped(f"a frozenset of {len(members)} members")
    # In an order of its own: that of a set is another one in each process.
    return sorted(map(_node, members), key=msgspec.msgpack.encode)


def _read_frozenset(*nodes: object) -> frozenset[object]:
    if len(nodes) > _MOST_MEMBERS:
        raise ValueError(f"a frozenset of {len(nodes)} members, over the limit of {_MOST_MEMBERS}")
    return frozenset(map(_value, nodes))


_WRITERS: dict[type, tuple[str, Callable[[Any], Iterable[object]]]] = {
    int: ("int", _write_int),
    tuple: ("tuple", lambda items: map(_node, items)),
    frozenset: ("frozenset", _write_frozenset),
    Decimal: ("decimal", lambda number: (str(number),)),
    UUID: ("uuid", lambda uuid: (uuid.hex,)),
    datetime: ("datetime", _write_datetime),
    date: ("date", lambda day: (day.isoformat(),)),
    time: ("time", _write_time),
    timedelta: ("timedelta", lambda span: (span.days, span.seconds, span.microseconds)),
}
_READERS: dict[str, Callable[..., Any]] = {
    "int": _read_int,
    "tuple": lambda *nodes: tuple(map(_value, nodes)),
    "frozenset": _read_frozenset,
    "decimal": Decimal,
    "uuid": UUID,
    "datetime": _read_datetime,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": timedelta,
}
