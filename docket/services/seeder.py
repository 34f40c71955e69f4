"""The seeder: schedules automatic perpetual tasks, and times those anew that newer code changed."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING

from docket.clock import aware, now, stored
from docket.dependencies.perpetual import Perpetual, automatic_of
from docket.errors import ConnectionClosed, NotPermitted, ServerUnavailable
from docket.execution import Execution
from docket.store.transitions import Schedule

if TYPE_CHECKING:
    from docket.docket import Docket

logger = logging.getLogger("docket.worker")

_NOW, _FAR = timedelta(0), timedelta(days=36_500)


class Seeder:
    """Seed the automatic tasks that are registered in this process.

    An execution under a task's name is kept, so any number of workers may seed at once. So is the
    record of a task that is poison, until it expires. Stricken tasks are not seeded.

    Args:
        docket: the docket of the tasks.
    """

    def __init__(self, docket: Docket) -> None:
        self._docket = docket
        self._began_at = monotonic()

    async def seed(self) -> None:
        """Schedule the missing tasks, each for itself; without a server, the next time does it."""
        for name, perpetual in self._automatic().items():
            try:
                await self._seed(name, perpetual)
            except ServerUnavailable as error:
                logger.warning(
                    "Automatic task %r was not scheduled (%s): tried again in a minute", name, error
                )
            except (ConnectionClosed, NotPermitted):
                raise  # Of no one task.
            except Exception:
                # Code of the user's may tell the due time, and nothing of it may end the worker.
                logger.exception(
                    "Automatic task %r was not scheduled: tried again in a minute", name
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

    async def _seed(self, name: str, perpetual: Perpetual) -> None:
        # Of a copy, since asking may change the answer to the next question.
        due = perpetual.as_if_made_now().initial_when
        function = self._docket.tasks[name]
        seed = Execution(self._docket, function, (), {}, name, due or now(), 1, function_name=name)
        if self._docket.strike_list.is_stricken(seed):
            return
        reply = await self._docket.scheduler.seed(seed, perpetual.schedule_name)
        if reply.disposition == "scheduled":
            logger.info("Scheduled automatic task %r", name)
        elif reply.disposition == "error":
            logger.error(
                "Automatic task %r was not scheduled, its record cannot be read (%s): tried again "
                "in a minute",
                name,
                reply.state,
            )
        elif reply.state == "scheduled" and await self._retime(name, perpetual, due):
            logger.info("Automatic task %r has another schedule now: timed anew", name)

    async def _retime(self, name: str, perpetual: Perpetual, due: datetime | None) -> bool:
        in_use_for = timedelta(seconds=monotonic() - self._began_at)
        # An interval has no times of its own: the run is to come within one of them.
        schedule = Schedule(perpetual.schedule_name, due is None, in_use_for)
        when = aware("when", due or now() + min(max(perpetual.every, _NOW), _FAR))
        return await self._docket.transitions.retime(name, schedule, stored(when))
