"""Calls as values, for scheduling many at once: `Docket.call` makes them, `add_many` takes them.

`Docket.add` makes none: its way is docket.py, scheduling.py, store/coalescing.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import uuid_utils


@dataclass(frozen=True)
class TaskCall:
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


def new_key() -> str:
    """Make a key that no other task has; keys made later sort after it."""
    return str(uuid_utils.uuid7())
