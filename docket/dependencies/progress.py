"""`Progress`: progress reports from a task."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

from docket.dependencies.base import ProvidedDependency, TaskRun
from docket.loop_calls import reports

if TYPE_CHECKING:
    from docket.execution import ExecutionProgress


class Progress(ProvidedDependency["Progress"]):
    """Give a task the progress of its own execution, to report to watchers.

    Reports are stored with the execution and published as they change. In a thread without an event
    loop, as a plain function has, they need no await: `progress.increment()` returns once it is
    reported.
    """

    def __init__(self) -> None:
        self._of_execution: ExecutionProgress | None = None

    def provide(self, run: TaskRun) -> Progress:
        of_this_run = Progress()
        of_this_run._of_execution = run.execution.progress
        return of_this_run

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that the reports go through."""
        return self._reported().loop

    @property
    def current(self) -> int | None:
        """The amount done; None before the first report."""
        return self._reported().current

    @property
    def total(self) -> int:
        """The total amount to do."""
        return self._reported().total

    @property
    def message(self) -> str | None:
        """The latest status message."""
        return self._reported().message

    @property
    def updated_at(self) -> datetime | None:
        """The time of the latest report."""
        return self._reported().updated_at

    @reports
    async def set_total(self, total: int) -> None:
        """Set the total amount to do (at least 1).

        Raises:
            ValueError: it is less than 1.
        """
        await self._reported().set_total(total)

    @reports
    async def increment(self, amount: int = 1) -> None:
        """Add to the amount done (at least 1); concurrent calls add up.

        Raises:
            ValueError: it is less than 1.
        """
        await self._reported().increment(amount)

    @reports
    async def set_message(self, message: str | None) -> None:
        """Set the status message; None removes it."""
        await self._reported().set_message(message)

    def _reported(self) -> ExecutionProgress:
        if self._of_execution is None:
            raise RuntimeError(
                "this progress belongs to no execution: use the one that the task gets as its "
                "argument"
            )
        return self._of_execution
