"""The treatment of claimed tasks whose name is not registered in this process."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

from docket.errors import ServerUnavailable, UnknownTask
from docket.lifecycle import Deferred, Failed, Outcome, Requeued
from docket.store.transitions import Claim

if TYPE_CHECKING:
    from docket.docket import Docket

logger = logging.getLogger("docket.worker")

#: Time for which a perpetual task that no live worker knows is kept, in seconds: long enough for a
#: deployment to bring workers that know it, short enough for a removed task to disappear.
PATIENCE_SECONDS = 15 * 60.0
#: Shortest and longest time for which such a task is deferred, in seconds.
DEFERRAL_SECONDS = (1.0, 60.0)


class UnknownTasks:
    """A policy that drops unknown tasks and defers perpetual ones.

    During a rollout, workers of the old version claim tasks that only the new one knows. Dropping
    an ordinary task loses one run; dropping a perpetual task loses all its further runs.

    Args:
        docket: the docket of the tasks.
    """

    def __init__(self, docket: Docket) -> None:
        self._docket = docket
        #: The monotonic time at which each unknown function was first claimed here.
        self._since: dict[str, float] = {}

    async def outcome(self, claim: Claim) -> Outcome:
        """Return the outcome of a claimed task that cannot be run here."""
        name = claim.function.decode()
        try:
            keeps = await self._is_to_be_kept(claim, name)
        except ServerUnavailable as error:
            logger.debug("Whether unknown task %r is perpetual cannot be told: %s", name, error)
            return Requeued()
        if keeps:
            return self._deferred(name)
        self._since.pop(name, None)
        logger.warning(
            "Unknown task %r received - dropping. "
            "Register via CLI (--tasks your.module:tasks) or API (docket.register(func)).",
            name,
        )
        return Failed(UnknownTask(name))

    async def _is_to_be_kept(self, claim: Claim, name: str) -> bool:
        records = self._docket.transitions
        if b"perpetual" not in await records.fetch(claim.key.decode()):
            return False
        if await records.is_known(name):
            return True
        return monotonic() - self._since.get(name, monotonic()) < PATIENCE_SECONDS

    def _deferred(self, name: str) -> Deferred:
        shortest, longest = DEFERRAL_SECONDS
        waited = monotonic() - self._since.setdefault(name, monotonic())
        delay = min(max(waited, shortest), longest)
        logger.warning(
            "Unknown perpetual task %r received - left to workers that know it; "
            "looked at again in %.0f s",
            name,
            delay,
        )
        return Deferred(delay)
