"""The progress that a run reports while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from docket.clock import from_microseconds
from docket.execution.record_fields import instant, text

if TYPE_CHECKING:
    from docket.execution import Execution

#: The total until a run sets its own.
DEFAULT_TOTAL = 100


class ExecutionProgress:
    """The progress of an execution according to its record.

    Attributes:
        current: the amount done; None before it runs.
        total: the amount to do.
        message: a status text, if one was set.
        updated_at: the time of the last report.
    """

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self.current: int | None = None
        self.total: int = DEFAULT_TOTAL
        self.message: str | None = None
        self.updated_at: datetime | None = None

    async def set_total(self, total: int) -> None:
        """Set the amount to do. Raises ValueError if it is less than 1."""
        if total < 1:
            raise ValueError(f"The total of a progress must be at least 1, not {total}")
        await self._report("total", total)

    async def increment(self, amount: int = 1) -> None:
        """Add to the amount done. Raises ValueError if it is less than 1."""
        if amount < 1:
            raise ValueError(f"A progress can only be incremented by 1 or more, not {amount}")
        await self._report("increment", amount)

    async def set_message(self, message: str | None) -> None:
        """Set the status text; None removes it."""
        await self._report("message", message or "")

    async def sync(self) -> None:
        """Read the progress from the record, without the execution's state."""
        execution = self._execution
        self.load(await execution.docket.transitions.fetch(execution.key))

    def load(self, record: Mapping[bytes, bytes]) -> None:
        """Take the values from the fields of a record."""
        self.current = current_of(record)
        self.total = int(record.get(b"progress_total", DEFAULT_TOTAL))
        self.message = text(record.get(b"progress_message"))
        self.updated_at = instant(record.get(b"progress_updated_at"))

    def begin(self) -> None:
        """Reset the progress, since a run begins."""
        self.current, self.total, self.message, self.updated_at = 0, DEFAULT_TOTAL, None, None

    async def _report(self, operation: str, value: str | int) -> None:
        execution = self._execution
        row = await execution.docket.transitions.report_progress(
            execution.key,
            execution.message_id or "",
            execution.generation,
            operation,
            value,
        )
        if row is None:
            return  # A newer execution has the record: this one has no progress to report.
        self.current, self.total, self.message = row.current, row.total, row.message
        self.updated_at = from_microseconds(row.updated_at)


def current_of(record: Mapping[bytes, bytes]) -> int | None:
    """Read the amount done from a record; 0 for a run that has reported nothing."""
    current = record.get(b"progress_current")
    if current is not None:
        return int(current)
    return 0 if record.get(b"state") == b"running" else None
