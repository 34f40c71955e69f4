"""Inspection for extensions: the dependencies of a function, and their values."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from uncalled_for import FailedDependency

from docket.dependencies.base import AnyDependency, current
from docket.dependencies.declarations import get_dependency_parameters
from docket.dependencies.plan import compile_plan
from docket.dependencies.resolution import Resolution

if TYPE_CHECKING:
    from docket.execution import Execution
    from docket.worker import Worker

D = TypeVar("D", bound=AnyDependency)


def get_single_dependency_parameter_of_type(
    function: Callable[..., Any], dependency_type: type[D]
) -> D | None:
    """Return the dependency of a class that a function's own parameters ask for, if any."""
    return get_single_dependency_of_type(get_dependency_parameters(function), dependency_type)


def get_single_dependency_of_type(
    dependencies: dict[str, AnyDependency], dependency_type: type[D]
) -> D | None:
    """Return the first dependency of a class, if any."""
    return next((d for d in dependencies.values() if isinstance(d, dependency_type)), None)


def validate_dependencies(function: Callable[..., Any]) -> None:
    """Check the dependencies of a function.

    Raises:
        ValueError, TypeError: they cannot be resolved; see `compile_plan`.
    """
    compile_plan(function)


@asynccontextmanager
async def resolved_dependencies(
    worker: Worker, execution: Execution
) -> AsyncGenerator[dict[str, Any]]:
    """Resolve the dependencies of an execution's function, for as long as the context lasts.

    A dependency that fails becomes a `FailedDependency`; nothing is raised.
    """
    plan = compile_plan(execution.function, worker.dependencies)
    docket = worker.docket
    with current(docket, worker, execution):
        async with _Lenient(plan, docket=docket, worker=worker, execution=execution) as values:
            yield values


class _Lenient(Resolution):
    """A resolution that returns failures as values, and omits the caller's keyword arguments."""

    __slots__ = ()

    async def __aenter__(self) -> dict[str, object]:
        kwargs = await super().__aenter__()
        return {name: kwargs[name] for name, _ in self._plan.outputs}

    def _fail(self, failures: dict[int, Exception]) -> None:
        for name, index in self._plan.outputs:
            if index in failures:
                self._values[index] = FailedDependency(name, failures[index])
