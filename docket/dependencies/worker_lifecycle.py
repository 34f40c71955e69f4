"""Dependencies that take part in the life of a worker."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from docket.dependencies.base import AnyDependency
from docket.dependencies.declarations import Declarations

if TYPE_CHECKING:
    from docket.docket import Docket
    from docket.worker import Worker


@asynccontextmanager
async def worker_lifecycles(docket: Docket, worker: Worker) -> AsyncGenerator[None]:
    """Enter what the `worker_lifecycle` of each class of dependencies returns, for one run.

    The classes are those of the tasks in the order of their registration, then the worker's own.

    Raises:
        Exception: any of theirs.
    """
    async with AsyncExitStack() as stack:
        for kind in dict.fromkeys(map(type, _dependencies(docket, worker))):
            make = cast(Any, getattr(kind, "worker_lifecycle", None))
            lifecycle: AbstractAsyncContextManager[object] | None
            lifecycle = None if make is None else make(docket, worker)
            if lifecycle is not None:
                await stack.enter_async_context(lifecycle)
        yield


def _dependencies(docket: Docket, worker: Worker) -> Iterator[AnyDependency]:
    for function in dict.fromkeys(docket.tasks.values()):
        declared = Declarations(function)
        yield from declared.parameters.values()
        for wrappers in declared.wrappers.values():
            yield from wrappers
    yield from worker.dependencies.values()
