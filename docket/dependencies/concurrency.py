"""`ConcurrencyLimit`: so many at once, and the others wait for a slot."""

from __future__ import annotations

from typing import Any, Self

from docket.dependencies.base import TaskRun
from docket.dependencies.limits import Limit
from docket.store.limits import LimitKind, LimitRequest


class ConcurrencyLimit(Limit[Any]):
    """Limit how many runs of a task there are at once, over all workers.

        async def sync(customer_id: int, limit: ConcurrencyLimit = ConcurrencyLimit("customer_id")):
            ...  # one at a time for each customer

    A run that finds no slot gives its place in the worker up at once. The task waits in line in
    Redis, shown as scheduled, and is started by the end of the run whose slot it gets; who comes
    later queues behind it. A slot lives as long as its run: a retry with a delay gives it back, the
    death of the worker too.

    A task may have several; it holds all their slots or none.

    Args:
        argument_name: runs with the same value of this argument are counted together (those of
            other tasks with an argument of that name too, unless the scope differs). A call that
            does not pass the argument is not limited. None counts the runs of the task. In
            `Annotated[T, ConcurrencyLimit(2)]` a number is `max_concurrent`.
        max_concurrent: slots, at least 1.
        scope: prefix of what is counted together.

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
        if max_concurrent < 1:
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
            RuntimeError: this is not the limit of a run, but the one in the signature.
        """
        if not self._is_initialized:
            raise RuntimeError("ConcurrencyLimit not initialized - use within task context")
        return self._concurrency_key

    @property
    def is_bypassed(self) -> bool:
        """Whether the run is not limited, because the call does not pass the argument.

        False in a signature: there is no run that could go unlimited.
        """
        return self._is_initialized and self._concurrency_key is None

    def request(self, target: str) -> LimitRequest | None:
        return LimitRequest(LimitKind.SLOTS, target, self.max_concurrent)

    def bound(self, run: TaskRun, target: str | None) -> Self:
        # As Retry does it: a subclass has a constructor of its own.
        of_this_run = type(self).__new__(type(self))
        key = None if target is None else run.docket.keys.slots(target)
        vars(of_this_run).update(vars(self), _is_initialized=True, _concurrency_key=key)
        return of_this_run
