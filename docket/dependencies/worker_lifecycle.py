"""Dependencies that take part in the life of a worker."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from docket.dependencies.base import AnyDependency
from docket.dependencies.caretaker import Caretaker, entered
from docket.errors import DocketError

if TYPE_CHECKING:
    from docket.docket import Docket
    from docket.worker import Worker

_BROKEN = "A worker_lifecycle has ended before its worker, which cannot go on: see the log"


@asynccontextmanager
async def worker_lifecycles(
    docket: Docket, worker: Worker, context: Context, fail: Callable[[BaseException], object]
) -> AsyncGenerator[None]:
    """Enter what the `worker_lifecycle` of each class of dependencies returns, for one run.

    The classes are those of the tasks in the order of their registration, then the worker's own.
    The end of each is bounded in time, and a failure of it is logged.

    Args:
        context: that of the run, in which they are entered and left too.
        fail: called when one of them has cancelled the others.

    Raises:
        Exception: any of theirs, while they are entered.
    """
    caretaker = Caretaker("worker_lifecycle", lambda: context, lambda: fail(DocketError(_BROKEN)))
    try:
        for kind in dict.fromkeys(map(type, _dependencies(docket, worker))):
            make = cast(Any, getattr(kind, "worker_lifecycle", None))
            lifecycle: AbstractAsyncContextManager[object] | None
            lifecycle = None if make is None else make(docket, worker)
            if lifecycle is not None:
                await caretaker.open(kind.__qualname__, partial(entered, lifecycle))
        yield
    except BaseException as error:
        await caretaker.close(error)
        raise
    await caretaker.close()


def _dependencies(docket: Docket, worker: Worker) -> Iterator[AnyDependency]:
    for plan in dict.fromkeys(docket.plans.values()):
        yield from plan.declared.parameters.values()
        for wrappers in plan.declared.wrappers.values():
            yield from wrappers
    yield from worker.dependencies.values()
