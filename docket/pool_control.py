"""The pool of workers beside a dashboard, as whoever runs one gives it."""

from collections.abc import Awaitable, Mapping
from typing import Any, Protocol


class PoolControl(Protocol):
    """The control of one pool. An error of any call is shown to whoever asked."""

    #: The name of the docket that the pool works on.
    docket: str

    def status(self) -> Awaitable[Mapping[str, Any]]:
        """Return the report of the pool, as its /status has it."""
        ...

    def scale(self, size: str) -> Awaitable[str]:
        """Change its size, a number or "LEAST:MOST"; return a line for people, as all do."""
        ...

    def reload(self) -> Awaitable[str]:
        """Import the code anew, and replace every worker."""
        ...

    def restart(self, slot: int) -> Awaitable[str]:
        """Replace the worker in a slot."""
        ...

    def dump(self) -> Awaitable[str]:
        """Write the stacks and tasks of every worker to the log of the pool."""
        ...


class PoolFailure(Exception):
    """The pool refused, or did not answer; the message says why."""
