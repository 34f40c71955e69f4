"""The base classes of dependencies.

Dependency              entered once for each run; its value goes to the parameter
├── Runtime             makes the call itself
│   └── ScopedRuntime   entered last and exited first: directly around the call (Timeout)
├── FailureHandler      decides what follows a failure (Retry): see handlers
├── CompletionHandler   decides what follows the end of a run (Perpetual): see handlers
├── ProvidedDependency  has its value at once: no await, nothing to close (TaskKey, Progress)
└── PlannedDependency   works only as a part of a task's plan (Depends, TaskArgument)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from typing_extensions import TypeIs

if TYPE_CHECKING:
    from docket.docket import Docket
    from docket.execution import Execution
    from docket.worker import Worker

T_co = TypeVar("T_co", covariant=True)

#: The docket, worker and execution of the current run. Set only for tasks with dependencies, from
#: their resolution to their closing; other tasks pay nothing for them and see no values.
current_docket: ContextVar[Docket] = ContextVar("docket.current_docket")
current_worker: ContextVar[Worker] = ContextVar("docket.current_worker")
current_execution: ContextVar[Execution] = ContextVar("docket.current_execution")


class TaskRun:
    """The run that dependencies are resolved for."""

    __slots__ = ("docket", "execution", "worker")

    def __init__(self, docket: Docket, worker: Worker, execution: Execution) -> None:
        self.docket = docket
        self.worker = worker
        self.execution = execution


class Dependency(ABC, Generic[T_co]):
    """A value that a task asks for in the default or the `Annotated` metadata of a parameter.

    Subclass it to write your own: `__aenter__` returns the parameter's value, and `__aexit__` gets
    the exception of the task, if any. The one instance in the signature serves all runs at once:
    keep the state of a run in the object that `__aenter__` returns.

    `Dependency.docket`, `.worker` and `.execution` are context variables: `self.execution.get()`.
    """

    #: True if a task may have only one dependency of this class.
    single: ClassVar[bool] = False

    docket: ClassVar[ContextVar[Docket]] = current_docket
    worker: ClassVar[ContextVar[Worker]] = current_worker
    execution: ClassVar[ContextVar[Execution]] = current_execution

    @abstractmethod
    async def __aenter__(self) -> T_co: ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool | None:
        return None


class Runtime(Dependency[T_co]):
    """A dependency that makes the call itself. A task may have one."""

    single = True

    @abstractmethod
    async def run(
        self,
        execution: Execution,
        function: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Call the task, once all its dependencies are resolved.

        Args:
            execution: the execution that runs.
            function: the function of the task.
            args: the caller's positional arguments.
            kwargs: the caller's keyword arguments and the values of the dependencies.

        Returns:
            The result of the task.
        """


class ScopedRuntime(Runtime[T_co]):
    """A runtime that only surrounds the call.

    It is entered after all other dependencies and exited before them, so that it covers the task's
    own code, but neither the setup nor the teardown of its dependencies.
    """

    @abstractmethod
    def scope(self, run: TaskRun) -> AbstractAsyncContextManager[T_co, bool | None]:
        """Return the context to enter around the call: a new one for each run, as it has state."""

    async def run(
        self,
        execution: Execution,
        function: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        return await function(*args, **kwargs)


class ProvidedDependency(Dependency[T_co]):
    """A dependency whose value comes from the run at once, without awaiting."""

    @abstractmethod
    def provide(self, run: TaskRun) -> T_co: ...

    async def __aenter__(self) -> T_co:
        return self.provide(
            TaskRun(current_docket.get(), current_worker.get(), current_execution.get())
        )


def is_dependency(value: object) -> TypeIs[Dependency[Any]]:
    """Return whether the value is a dependency, in a form that type checkers understand."""
    return isinstance(value, Dependency)


def needs_closing(dependency: Dependency[Any]) -> bool:
    """Return whether its class overrides `__aexit__`."""
    return cast(Any, type(dependency)).__aexit__ is not cast(Any, Dependency).__aexit__


def is_provided(dependency: Dependency[Any]) -> TypeIs[ProvidedDependency[Any]]:
    """Return whether entering it only calls `provide`: a subclass may override `__aenter__`."""
    if not isinstance(dependency, ProvidedDependency) or needs_closing(dependency):
        return False
    return cast(Any, type(dependency)).__aenter__ is cast(Any, ProvidedDependency).__aenter__


class PlannedDependency(Dependency[Any]):
    """A dependency that needs to know its task and its parameter.

    `docket.dependencies.plan` turns it into steps; it cannot be entered directly.
    """

    async def __aenter__(self) -> Any:
        raise RuntimeError(
            f"{self!r} cannot be entered by itself: give it to a parameter of a task, or of a "
            "function that a task depends on"
        )
