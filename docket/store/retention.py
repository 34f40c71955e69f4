"""The retention of executions that have ended."""

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from docket.clock import delay_milliseconds

#: The time for which failed executions are kept, unless a docket says otherwise.
KEEP_FAILED = timedelta(days=7)
#: The number of them that are kept, unless a docket says otherwise.
KEEP_FAILED_MOST = 10_000


@dataclass(frozen=True)
class Retention:
    """The retention of the executions of one docket.

    Attributes:
        execution_ttl: the time to keep the record of an ended execution; 0 keeps nothing.
        keep_failed: the time to keep failed executions besides, the newest of each key; 0 keeps
            none.
        keep_failed_most: the most of them; the oldest give way.
    """

    execution_ttl: timedelta
    keep_failed: timedelta = KEEP_FAILED
    keep_failed_most: int = KEEP_FAILED_MOST

    @cached_property
    def ttl_milliseconds(self) -> int:
        """`execution_ttl` in milliseconds."""
        return delay_milliseconds(self.execution_ttl)

    @cached_property
    def argument(self) -> str:
        """The values that scripts read by `retention` of _records.lua."""
        keep = delay_milliseconds(self.keep_failed)
        return f"{self.ttl_milliseconds} {keep} {self.keep_failed_most}"
