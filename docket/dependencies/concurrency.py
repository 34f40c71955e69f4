"""`ConcurrencyLimit`: a number of runs at once, while the others wait for a slot.

Slots are taken in `acquire.lua` and released in `_limits.lua` (`release`).
"""

from __future__ import annotations

from typing import Any, Self, cast

from docket.clock import whole
from docket.dependencies.base import TaskRun
from docket.dependencies.limits import Limit
from docket.store.limits import LimitKind, LimitRequest


class ConcurrencyLimit(Limit[Any]):
    """Limit the number of concurrent runs of a task, over all workers.

        async def sync(customer_id: int, limit: ConcurrencyLimit = ConcurrencyLimit("customer_id")):
            ...  # one at a time for each customer

    A run that finds no slot frees its place in the worker at once. The task queues in Redis, shown
    as scheduled, and starts when the run whose slot it gets has ended; later tasks queue behind it.
    A slot is held for as long as its run: a retry with a delay releases it, and so does the death
    of the worker.

    A task may have several limits; it holds all their slots or none.

    Args:
        argument_name: runs with the same value of this argument are counted together (including
            those of other tasks with an argument of that name, unless the scope differs). A call
            that does not pass the argument is not limited. None counts the runs of the task. In
            `Annotated[T, ConcurrencyLimit(2)]` a number is `max_concurrent`.
        max_concurrent: the number of slots, at least 1.
        scope: prefix of the key that runs are counted under.

    Raises:
        ValueError: max_concurrent is less than 1.
    """

    def __init__(
        self,
        argument_name: str | int | None = None,
        max_concurrent: int = 1,
        scope: str | None = None,
    ) -> None:
        super().__init__(scope)
        if isinstance(argument_name, int):
            argument_name, max_concurrent = None, argument_name
        if argument_name is not None and not isinstance(cast("object", argument_name), str):
            raise TypeError(f"argument_name must be the name of an argument, not {argument_name!r}")
        if whole("max_concurrent", max_concurrent) < 1:
            raise ValueError(f"max_concurrent must be at least 1, got {max_concurrent}")
        self.argument_name = argument_name
        self.max_concurrent = max_concurrent
        self._is_initialized = False
        self._concurrency_key: str | None = None

    @property
    def argument(self) -> str | None:
        return self.argument_name

    @property
    def concurrency_key(self) -> str | None:
        """The Redis key that holds the slots of this run; None if the run is not limited.

        Raises:
            RuntimeError: this is the limit in the signature, not that of a run.
        """
        if not self._is_initialized:
            raise RuntimeError("ConcurrencyLimit not initialized - use within task context")
        return self._concurrency_key

    @property
    def is_bypassed(self) -> bool:
        """Return True if the run is not limited because the call does not pass the argument.

        Always False for the limit in the signature, which belongs to no run.
        """
        return self._is_initialized and self._concurrency_key is None

    def request(self, target: str) -> LimitRequest | None:
        return LimitRequest(LimitKind.SLOTS, target, self.max_concurrent)

    def bound(self, run: TaskRun, target: str | None) -> Self:
        # Not constructed, as in Retry: a subclass may have a constructor of its own.
        of_this_run = type(self).__new__(type(self))
        key = None if target is None else run.docket.keys.slots(target)
        vars(of_this_run).update(vars(self), _is_initialized=True, _concurrency_key=key)
        return of_this_run
