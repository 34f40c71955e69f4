"""Calls as values, for scheduling many at once: `Docket.call` makes them, `add_many` takes them.

`Docket.add` makes none: its way is docket.py, scheduling.py, store/coalescing.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
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
        when: its due time.
        function_name: the registered name of the task; the function's own by default.
        as_soon_as_possible: True if no time was given: it is due when it is scheduled, by the
            server's clock, and `when` is the time of the call. Not an argument.
    """

    function: Callable[..., Awaitable[Any]]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    key: str
    when: datetime
    function_name: str | None = None
    as_soon_as_possible: bool = field(default=False, init=False, repr=False, compare=False)

    def due_at_once(self) -> TaskCall:
        """Make this call due as soon as possible."""
        # Set around the frozen dataclass, since it is no argument of the public constructor.
        object.__setattr__(self, "as_soon_as_possible", True)
        return self


def new_key() -> str:
    """Make a key that no other task has; keys made later sort after it."""
    return str(uuid_utils.uuid7())
