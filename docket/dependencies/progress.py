"""`Progress`: a task reports how far it is."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from docket.dependencies.base import ProvidedDependency, TaskRun

if TYPE_CHECKING:
    from docket.execution import ExecutionProgress


class Progress(ProvidedDependency["Progress"]):
    """Give a task the progress of its own execution, for all who watch it.

    What it reports is kept with the execution and published as it changes.
    """

    def __init__(self) -> None:
        self._of_execution: ExecutionProgress | None = None

    def provide(self, run: TaskRun) -> Progress:
        of_this_run = Progress()
        of_this_run._of_execution = run.execution.progress
        return of_this_run

    @property
    def current(self) -> int | None:
        """How much is done; None before the first report."""
        return self._reported().current

    @property
    def total(self) -> int:
        """How much there is to do."""
        return self._reported().total

    @property
    def message(self) -> str | None:
        """The status that was set last."""
        return self._reported().message

    @property
    def updated_at(self) -> datetime | None:
        """When something was reported last."""
        return self._reported().updated_at

    async def set_total(self, total: int) -> None:
        """Say how much there is to do (at least 1).

        Raises:
            ValueError: it is less than 1.
        """
        await self._reported().set_total(total)

    async def increment(self, amount: int = 1) -> None:
        """Say that so much more is done (at least 1); concurrent calls add up.

        Raises:
            ValueError: it is less than 1.
        """
        await self._reported().increment(amount)

    async def set_message(self, message: str | None) -> None:
        """Say in words what is going on; None removes it."""
        await self._reported().set_message(message)

    def _reported(self) -> ExecutionProgress:
        if self._of_execution is None:
            raise RuntimeError(
                "this progress belongs to no execution: use the one that the task gets as its "
                "argument"
            )
        return self._of_execution
