"""The seeder: puts automatic perpetual tasks on the docket, unless they are there."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from docket.clock import now, to_milliseconds
from docket.dependencies.perpetual import Perpetual, automatic_of
from docket.errors import ServerUnavailable
from docket.execution import Execution
from docket.store.coalescing import ScheduleRequest

if TYPE_CHECKING:
    from docket.docket import Docket

logger = logging.getLogger("docket.worker")


class Seeder:
    """Seeds the automatic tasks that this process knows.

    What is scheduled, queued or running under a task's name is kept, so any number of workers may
    seed at once. So is a record that says that the task is poison, while it lives. What is
    stricken is left alone.

    Args:
        docket: whose tasks.
    """

    def __init__(self, docket: Docket) -> None:
        self._docket = docket

    async def seed(self) -> None:
        """Schedule what is missing. Without a server it is left to the next time."""
        for name, perpetual in self._automatic().items():
            if self._is_stricken(name):
                continue
            try:
                await self._seed(name, perpetual)
            except ServerUnavailable as error:
                logger.warning(
                    "Automatic task %r was not scheduled (%s): tried again in a minute", name, error
                )

    def _is_stricken(self, name: str) -> bool:
        strikes, function = self._docket.strike_list, self._docket.tasks[name]
        if strikes.is_empty:
            return False
        seed = Execution(self._docket, function, (), {}, name, now(), 1, function_name=name)
        return strikes.is_stricken(seed)

    def _automatic(self) -> dict[str, Perpetual]:
        """The automatic tasks by name: of a function that has several, its own or its first."""
        docket = self._docket
        names: dict[int, str] = {}
        found: dict[str, Perpetual] = {}
        for name, function in docket.tasks.items():
            perpetual = automatic_of(docket.plans[name])
            if perpetual is None:
                continue
            if id(function) in names and name != getattr(function, "__name__", None):
                continue
            found.pop(names.get(id(function), ""), None)
            names[id(function)] = name
            found[name] = perpetual
        return found

    async def _seed(self, name: str, perpetual: Perpetual) -> None:
        when = perpetual.initial_when
        scheduling = self._docket.transitions.coalescer
        request = ScheduleRequest(
            key=name,
            function=name,
            call=self._docket.serializer.encode_call(self._docket.tasks[name], (), {}),
            when="" if when is None else to_milliseconds(when),
            attempt=1,
            token=scheduling.token(),
            perpetual=2,
        )
        scheduled = await scheduling.schedule(request)
        if scheduled.disposition == "scheduled":
            logger.info("Scheduled automatic task %r", name)
        elif scheduled.disposition == "error":
            logger.error(
                "Automatic task %r was not scheduled, its record cannot be read (%s): tried again "
                "in a minute",
                name,
                scheduled.state,
            )
