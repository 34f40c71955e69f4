"""Calls as values, for scheduling many at once: `Docket.call` makes them, `add_many` takes them.

`Docket.add` makes none: its way is docket.py, scheduling.py, store/coalescing.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import FrozenInstanceError, make_dataclass
from datetime import datetime
from typing import Any, NoReturn

import msgspec
import uuid_utils


class TaskCall(msgspec.Struct, weakref=True):
    """One call of a task, to be scheduled together with others.

    Attributes:
        function: the task.
        args, kwargs: the arguments of the call.
        key: the key to schedule it under.
        when: its due time; that of the call, if none was given.
        function_name: the registered name of the task; the function's own by default.
    """

    function: Callable[..., Awaitable[Any]]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    key: str
    when: datetime
    function_name: str | None = None

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")


# To `dataclasses` it is a frozen dataclass; a real one takes six times as long to make.
_FIELDS = make_dataclass(
    "TaskCall", [(field.name, field.type) for field in msgspec.structs.fields(TaskCall)]
)
TaskCall.__dataclass_fields__ = _FIELDS.__dataclass_fields__  # type: ignore[attr-defined]


def new_key() -> str:
    """Make a key that no other task has; keys made later sort after it."""
    return str(uuid_utils.uuid7())
