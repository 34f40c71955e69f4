"""The result writer: stores results and exceptions of tasks in the user's result storage."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec.structs import replace

from docket.lifecycle import Completed, Failed, Outcome
from docket.services.payloads import Payloads
from docket.services.runs import Run
from docket.store.results import storable

if TYPE_CHECKING:
    from docket.docket import Docket
    from docket.execution.results import ResultStorage

logger = logging.getLogger("docket.worker")


class ResultWriter:
    """A writer of results and exceptions, under the key and generation of their run.

    It writes before the outcome is recorded: the result of an ended task is always there.

    Args:
        docket: the docket of the tasks.
        storage: the result storage.
    """

    def __init__(self, docket: Docket, storage: ResultStorage) -> None:
        self._storage = storage
        self._payloads = Payloads(docket)
        self._ttl_seconds = docket.execution_ttl.total_seconds()

    async def keep(self, run: Run, outcome: Outcome) -> Outcome:
        """Store the result and return the outcome to record; never raises.

        A task whose result cannot be stored has failed. An exception that cannot be stored is kept
        in the record instead.
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
