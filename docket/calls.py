"""A call of a task that is not scheduled yet: what `Docket.call` makes and `add_many` takes."""

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
        args, kwargs: what it is called with.
        key: the key that it is scheduled under.
        when: when it is due.
        function_name: what the task is known as; its own name by default.
        as_soon_as_possible: whether no time was asked for: then it is due when it is scheduled, by
            the server's clock, and `when` is only when the call was made. Not an argument.
    """

    function: Callable[..., Awaitable[Any]]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    key: str
    when: datetime
    function_name: str | None = None
    as_soon_as_possible: bool = field(default=False, init=False, repr=False, compare=False)

    def due_at_once(self) -> TaskCall:
        """This call, as soon as possible."""
        # Set behind the back of the dataclass: it is no argument of the public constructor.
        object.__setattr__(self, "as_soon_as_possible", True)
        return self


def new_key() -> str:
    """A key that no other task has; keys made later sort after it."""
    return str(uuid_utils.uuid7())
