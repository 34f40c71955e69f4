"""The seeder, which schedules automatic perpetual tasks unless they are on the docket."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from docket.clock import now
from docket.dependencies.perpetual import Perpetual, automatic_of
from docket.errors import ServerUnavailable
from docket.execution import Execution

if TYPE_CHECKING:
    from docket.docket import Docket

logger = logging.getLogger("docket.worker")


class Seeder:
    """Seed the automatic tasks that are registered in this process.

    An execution under a task's name is kept, so any number of workers may seed at once. So is the
    record of a task that is poison, until it expires. Stricken tasks are not seeded.

    Args:
        docket: the docket of the tasks.
    """

    def __init__(self, docket: Docket) -> None:
        self._docket = docket

    async def seed(self) -> None:
        """Schedule the missing tasks; without a server, the next time does it."""
        for name, perpetual in self._automatic().items():
            # Of a copy, since asking may change the answer to the next question.
            due = perpetual.as_if_made_now().initial_when
            function = self._docket.tasks[name]
            seed = Execution(
                self._docket,
                function,
                (),
                {},
                name,
                due or now(),
                1,
                function_name=name,
            )
            if self._docket.strike_list.is_stricken(seed):
                continue
            try:
                await self._seed(seed)
            except ServerUnavailable as error:
                logger.warning(
                    "Automatic task %r was not scheduled (%s): tried again in a minute", name, error
                )

    def _automatic(self) -> dict[str, Perpetual]:
        """List the automatic tasks by name; of several, the function's own or the first."""
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

    async def _seed(self, seed: Execution) -> None:
        reply = await self._docket.scheduler.seed(seed)
        if reply.disposition == "scheduled":
            logger.info("Scheduled automatic task %r", seed.key)
        elif reply.disposition == "error":
            logger.error(
                "Automatic task %r was not scheduled, its record cannot be read (%s): tried again "
                "in a minute",
                seed.key,
                reply.state,
            )
