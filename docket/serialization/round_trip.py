"""The comparison of a value with its copy from a serializer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Set
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from functools import cached_property
from typing import Any, cast
from uuid import UUID

import msgspec

#: Types whose values are the same if they are equal.
_ATOMS = frozenset({type(None), bool, int, float, str, bytes, date, timedelta, UUID})


def difference(sent: object, arrived: object) -> str | None:
    """Describe the difference between a value and its decoded copy; None if there is none.

    Types are compared too, at any depth: a StrEnum is not its text, and a namedtuple no tuple. Only
    an int annotated as float may arrive as a float, as type checkers let it pass.
    """
    if type(sent) is type(arrived) and type(arrived) in _ATOMS and sent == arrived:
        return None  # Most values; the rest says of the others what differs.
    if not _same_type(sent, arrived):
        return f"a {_name(sent)} would arrive as a {_name(arrived)}"
    if isinstance(arrived, (datetime, time)):
        found = _of_clocks(cast("Any", sent), arrived)
    elif (compare := _comparison(arrived)) is not None:
        return compare(sent, arrived)
    else:
        found = None
    if found is None and sent != arrived and not (_is_nan(sent) and _is_nan(arrived)):
        found = f"a {_name(sent)} would arrive with another value"
    return found


def _comparison(arrived: object) -> Callable[[Any, Any], str | None] | None:
    """Return the comparison of values that have parts."""
    match arrived:
        case list() | tuple():
            return _of_items
        case dict():
            return _of_mappings
        case set() | frozenset():
            return _of_keys
        case _:
            return None if _fields(arrived) is None else _of_objects


def _same_type(sent: object, arrived: object) -> bool:
    return type(sent) is type(arrived) or (type(sent) is int and type(arrived) is float)


def _of_items(sent: Any, arrived: Any) -> str | None:
    if len(sent) != len(arrived):
        return f"{len(arrived)} of its {len(sent)} items would arrive"
    for index, (one, other) in enumerate(zip(sent, arrived, strict=True)):
        found = difference(one, other)
        if found is not None:
            return f"at [{index}], {found}"
    return None


def _of_mappings(sent: Mapping[Any, Any], arrived: Mapping[Any, Any]) -> str | None:
    found = _of_keys(sent.keys(), arrived.keys(), "its key")
    if found is not None:
        return found
    for key, value in sent.items():
        found = difference(value, arrived[key])
        if found is not None:
            return f"at {key!r}, {found}"
    return None


def _of_keys(sent: Set[Any], arrived: Set[Any], called: str = "its item") -> str | None:
    # Equal keys may differ in type, or in their time zone.
    copies = {key: key for key in arrived}
    for key in sent:
        if key not in copies:
            return f"{called} {key!r} would be lost"
        found = difference(key, copies[key])
        if found is not None:
            return f"at {called} {key!r}, {found}"
    return None if len(sent) == len(arrived) else "something that was not sent would arrive"


def _of_clocks(sent: datetime | time, arrived: datetime | time) -> str | None:
    if not _same_zone(sent.tzinfo, arrived.tzinfo):
        return (
            f"a {_name(sent)} would arrive without its time zone, {sent.tzinfo} (pass it in UTC, "
            "by `astimezone(timezone.utc)`, and the name of the zone beside it)"
        )
    return None if sent.fold == arrived.fold else f"a {_name(sent)} would arrive without its fold"


def _same_zone(sent: tzinfo | None, arrived: tzinfo | None) -> bool:
    if sent is None or arrived is None:
        return sent is arrived
    # Only a zone that always has the same offset answers without being given a time.
    offset = sent.utcoffset(None)
    return (
        offset is not None
        and offset == arrived.utcoffset(None)
        and sent.tzname(None) == arrived.tzname(None)
    )


def _of_objects(sent: object, arrived: object) -> str | None:
    for name in getattr(sent, "__dict__", {}):
        cached = isinstance(getattr(type(sent), name, None), cached_property)
        if not (cached or name in vars(arrived)):
            return f"its attribute {name!r} would be lost"
    fields = _fields(arrived) or ()
    return _of_mappings(
        {name: getattr(sent, name) for name in fields},
        {name: getattr(arrived, name) for name in fields},
    )


def _fields(value: object) -> Iterable[str] | None:
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    attributes = getattr(type(value), "__attrs_attrs__", None)  # of the library attrs
    return None if attributes is None else [attribute.name for attribute in attributes]


def _is_nan(value: object) -> bool:
    # NaN equals nothing, not even itself.
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, float) and math.isnan(value)


def _name(value: object) -> str:
    return type(value).__qualname__
