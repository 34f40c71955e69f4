"""What a dependency is.

Dependency              entered once a run, its value goes to the parameter
├── Runtime             runs the call itself
│   └── ScopedRuntime   entered last and left first: directly around the call (Timeout)
├── FailureHandler      asked after a failure what to do about it (Retry): see handlers
├── CompletionHandler   asked after the end of a run what follows (Perpetual): see handlers
├── ProvidedDependency  its value is at hand: no await, nothing to close (TaskKey, Progress)
└── PlannedDependency   means something only as a part of a task's plan (Depends, TaskArgument)
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

#: What runs here now. Set while a task that has dependencies is resolved, runs and is closed;
#: a task without dependencies pays for none of this and sees no values.
current_docket: ContextVar[Docket] = ContextVar("docket.current_docket")
current_worker: ContextVar[Worker] = ContextVar("docket.current_worker")
current_execution: ContextVar[Execution] = ContextVar("docket.current_execution")


class TaskRun:
    """The run that dependencies are resolved for: what a `ProvidedDependency` reads."""

    __slots__ = ("docket", "execution", "worker")

    def __init__(self, docket: Docket, worker: Worker, execution: Execution) -> None:
        self.docket = docket
        self.worker = worker
        self.execution = execution


class Dependency(ABC, Generic[T_co]):
    """Something a task asks for as the default or the `Annotated` metadata of a parameter.

    Subclass it to write your own: `__aenter__` gives the value for the parameter, `__aexit__` sees
    the exception of the task, if any. One instance, the one in the signature, serves every run at
    once: keep what belongs to one run in the object that `__aenter__` returns.

    `Dependency.docket`, `.worker` and `.execution` are context variables: `self.execution.get()`.
    """

    #: Whether a task may have only one dependency of this class.
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
    """A dependency that runs the call itself. One a task."""

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
            execution: what runs.
            function: the task's.
            args: what the caller passed by position.
            kwargs: what the caller passed by name, and what the dependencies resolved to.

        Returns:
            What the task is to have returned.
        """


class ScopedRuntime(Runtime[T_co]):
    """A runtime that only surrounds the call.

    It is entered after all others and left before them, so that it covers the task's own code and
    neither the setting up nor the closing of what the task uses.
    """

    @abstractmethod
    def scope(self, run: TaskRun) -> AbstractAsyncContextManager[T_co, bool | None]:
        """What to enter around the call: one of its own for each run, as it keeps state."""

    async def run(
        self,
        execution: Execution,
        function: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        return await function(*args, **kwargs)


class ProvidedDependency(Dependency[T_co]):
    """A dependency whose value can be had at once from the run, without awaiting."""

    @abstractmethod
    def provide(self, run: TaskRun) -> T_co: ...

    async def __aenter__(self) -> T_co:
        return self.provide(
            TaskRun(current_docket.get(), current_worker.get(), current_execution.get())
        )


def is_dependency(value: object) -> TypeIs[Dependency[Any]]:
    """`isinstance`, for a type checker that asks what the dependency gives."""
    return isinstance(value, Dependency)


def needs_closing(dependency: Dependency[Any]) -> bool:
    """Whether its class does something on leaving."""
    return cast(Any, type(dependency)).__aexit__ is not cast(Any, Dependency).__aexit__


def is_provided(dependency: Dependency[Any]) -> TypeIs[ProvidedDependency[Any]]:
    """Whether entering it comes to `provide`; a subclass of, say, Retry may have its own way."""
    if not isinstance(dependency, ProvidedDependency) or needs_closing(dependency):
        return False
    return cast(Any, type(dependency)).__aenter__ is cast(Any, ProvidedDependency).__aenter__


class PlannedDependency(Dependency[Any]):
    """A dependency that needs to know the task and the parameter it stands at.

    `docket.dependencies.plan` turns it into steps; entering it by hand has no meaning.
    """

    async def __aenter__(self) -> Any:
        raise RuntimeError(
            f"{self!r} cannot be entered by itself: give it to a parameter of a task, or of a "
            "function that a task depends on"
        )
