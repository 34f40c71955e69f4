"""The result keeper: puts what a task ended with into the user's result storage."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec.structs import replace

from docket.execution.results import storable
from docket.lifecycle import Completed, Failed, Outcome
from docket.services.payloads import Payloads
from docket.services.runs import Run

if TYPE_CHECKING:
    from docket.docket import Docket
    from docket.execution.results import ResultStorage

logger = logging.getLogger("docket.worker")


class ResultWriter:
    """Keeps results and exceptions in a result storage, under the key and generation of the run.

    Before the outcome is recorded: who sees that the task has ended finds its result.

    Args:
        docket: whose tasks.
        storage: where to.
    """

    def __init__(self, docket: Docket, storage: ResultStorage) -> None:
        self._storage = storage
        self._payloads = Payloads(docket)
        self._ttl_seconds = docket.execution_ttl.total_seconds()

    async def keep(self, run: Run, outcome: Outcome) -> Outcome:
        """The outcome to record; never fails.

        Without its result a task has failed. Without its exception it has failed all the same: the
        record keeps that one.
        """
        try:
            return await self._keep(run, outcome)
        except BaseException as error:
            logger.error(
                "What task %s ended with cannot be put into the result storage",
                run.claim.key.decode(),
                exc_info=error,
            )
            if run.ending is not None:
                return run.ending
            return outcome if isinstance(outcome, Failed) else Failed(error)

    async def _keep(self, run: Run, outcome: Outcome) -> Outcome:
        claim = run.claim
        match outcome:
            case Completed(result) if result is not None:
                payload = self._payloads.result(claim, result)
            case Failed(error):
                payload = self._payloads.error(error)
            case _:
                return outcome
        result_key = f"{claim.key.decode()}:{claim.generation.decode()}"
        await self._storage.put(result_key, storable(payload), ttl=self._ttl_seconds)
        return replace(outcome, result_key=result_key)
