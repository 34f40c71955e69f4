"""The treatment of claimed tasks whose name is not registered in this process."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from docket.dependencies.context import CurrentExecution, TaskLogger
from docket.errors import ServerUnavailable
from docket.execution import Execution
from docket.lifecycle import Deferred, Requeued
from docket.services.first_seen import FirstSeen
from docket.store.claims import Claim

if TYPE_CHECKING:
    from docket.docket import Docket

logger = logging.getLogger("docket.worker")

#: Time for which a perpetual task that no live worker knows is kept, in seconds: long enough for a
#: deployment to bring workers that know it, short enough for a removed task to disappear.
PATIENCE_SECONDS = 15 * 60.0
#: Shortest and longest time for which such a task is deferred, in seconds.
DEFERRAL_SECONDS = (1.0, 60.0)


async def default_fallback_task(
    *args: Any,
    # Names that no task has for its own: what a caller passes under them would take their place.
    _execution: Execution = CurrentExecution(),
    _logger: logging.LoggerAdapter[logging.Logger] = TaskLogger(),
    **kwargs: Any,
) -> None:
    """Drop a task whose name is not registered here, with a warning."""
    _logger.warning(
        "Unknown task %r received - dropping. "
        "Register via CLI (--tasks your.module:tasks) or API (docket.register(func)).",
        _execution.function_name,
    )


class UnknownTasks:
    """A policy that keeps unknown perpetual tasks, which the default fallback would drop.

    During a rollout, workers of the old version claim tasks that only the new one knows. Dropping
    an ordinary task loses one run; dropping a perpetual task loses all its further runs.

    Args:
        docket: the docket of the tasks.
    """

    def __init__(self, docket: Docket) -> None:
        self._docket = docket
        #: Unknown functions that were claimed here.
        self._unknown = FirstSeen()

    async def kept(self, claim: Claim) -> Deferred | Requeued | None:
        """Return the outcome of a claimed task that is left to others; None for one to drop."""
        name = claim.function.decode()
        try:
            keeps = await self._is_to_be_kept(claim, name)
        except ServerUnavailable as error:
            logger.debug("Whether unknown task %r is perpetual cannot be told: %s", name, error)
            return Requeued()
        if keeps:
            return self._deferred(name)
        self._unknown.forget(name)
        return None

    async def _is_to_be_kept(self, claim: Claim, name: str) -> bool:
        records = self._docket.transitions
        if b"perpetual" not in await records.fetch(claim.key.decode()):
            return False
        if await records.is_known(name):
            return True
        return self._unknown.seconds(name) < PATIENCE_SECONDS

    def _deferred(self, name: str) -> Deferred:
        shortest, longest = DEFERRAL_SECONDS
        delay = min(max(self._unknown.note(name), shortest), longest)
        logger.warning(
            "Unknown perpetual task %r received - left to workers that know it; "
            "looked at again in %.0f s",
            name,
            delay,
        )
        return Deferred(delay)
