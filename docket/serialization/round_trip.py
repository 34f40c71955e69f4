"""The comparison of a value with its copy from a serializer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, cast

import msgspec

#: Subclasses of these may arrive as the type itself, if that is the annotated type.
_BUILTIN = (int, float, str, bytes, list, tuple, set, frozenset, dict)


def difference(sent: object, arrived: object) -> str | None:
    """Describe the difference between a value and its decoded copy; None if there is none.

    A subclass of a builtin type may arrive as that type, and an int annotated as float as a float.
    """
    if not _same_type(sent, arrived):
        return f"a {_name(sent)} would arrive as a {_name(arrived)}"
    if isinstance(arrived, (list, tuple)):
        return _of_items(cast("Any", sent), cast("Any", arrived))
    if isinstance(arrived, dict):
        return _of_mappings(cast("Any", sent), cast("Any", arrived))
    fields = _fields(arrived)
    if fields is not None:
        return _of_mappings(
            {name: getattr(sent, name) for name in fields},
            {name: getattr(arrived, name) for name in fields},
        )
    if sent == arrived or (_is_nan(sent) and _is_nan(arrived)):
        return None
    return f"a {_name(sent)} would arrive with another value"


def _same_type(sent: object, arrived: object) -> bool:
    if type(sent) is type(arrived):
        return True
    if type(arrived) is float and not isinstance(sent, float):
        return isinstance(sent, int) and not isinstance(sent, bool)
    return type(arrived) in _BUILTIN and isinstance(sent, type(arrived))


def _of_items(sent: Any, arrived: Any) -> str | None:
    if len(sent) != len(arrived):
        return f"{len(arrived)} of its {len(sent)} items would arrive"
    for index, (one, other) in enumerate(zip(sent, arrived, strict=True)):
        found = difference(one, other)
        if found is not None:
            return f"at [{index}], {found}"
    return None


def _of_mappings(sent: Mapping[Any, Any], arrived: Mapping[Any, Any]) -> str | None:
    for key, value in sent.items():
        if key not in arrived:
            return f"its key {key!r} would be lost"
        found = difference(value, arrived[key])
        if found is not None:
            return f"at {key!r}, {found}"
    return None


def _fields(value: object) -> tuple[str, ...] | None:
    if dataclasses.is_dataclass(value):
        return tuple(field.name for field in dataclasses.fields(value))
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    return None


def _is_nan(value: object) -> bool:
    # NaN equals nothing, not even itself.
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, float) and math.isnan(value)


def _name(value: object) -> str:
    return type(value).__qualname__
