"""What becomes of a claimed task whose name is not registered in this process."""

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

#: How long a perpetual task is kept that no live worker knows, in seconds: long enough for a
#: deployment to bring the workers that do, short enough for a task that was removed to go away.
PATIENCE_SECONDS = 15 * 60.0
#: Shortest and longest time until a task that was put back is looked at again, in seconds.
POSTPONEMENTS = (1.0, 60.0)


class UnknownTasks:
    """Drops unknown tasks, but for perpetual ones.

    While a new version is rolled out, workers of the old one claim tasks that only the new one
    knows. To drop one run loses that run; to drop a perpetual task's loses all that would follow.

    Args:
        docket: whose tasks.
    """

    def __init__(self, docket: Docket) -> None:
        self._docket = docket
        #: Since when each function's tasks were claimed here in vain, monotonic.
        self._since: dict[str, float] = {}

    async def judge(self, claim: Claim) -> Outcome:
        """The outcome of a claimed task that cannot be run here."""
        name = claim.function.decode()
        try:
            keeps = await self._is_to_be_kept(claim, name)
        except ServerUnavailable as error:
            logger.debug("Whether unknown task %r is perpetual cannot be told: %s", name, error)
            return Requeued()
        if keeps:
            return self._postponed(name)
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

    def _postponed(self, name: str) -> Deferred:
        shortest, longest = POSTPONEMENTS
        waited = monotonic() - self._since.setdefault(name, monotonic())
        delay = min(max(waited, shortest), longest)
        logger.warning(
            "Unknown perpetual task %r received - left to workers that know it; "
            "looked at again in %.0f s",
            name,
            delay,
        )
        return Deferred(delay)
