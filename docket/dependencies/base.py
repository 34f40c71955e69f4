"""The base classes of dependencies.

uncalled_for.Dependency     what a function asks for; other libraries subclass it too
└── Dependency              entered once for each run; its value goes to the parameter
    ├── Runtime             makes the call itself (Timeout)
    ├── FailureHandler      decides what follows a failure (Retry): see handlers
    ├── CompletionHandler   decides what follows the end of a run (Perpetual): see handlers
    └── ProvidedDependency  has its value at once: no await, nothing to close (TaskKey, Progress)
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias, TypeVar, cast

import uncalled_for
from typing_extensions import TypeIs

from docket.supervision import run_here

if TYPE_CHECKING:
    from docket.docket import Docket
    from docket.execution import Execution
    from docket.worker import Worker

T_co = TypeVar("T_co", covariant=True)

#: A dependency of ours or of another library.
AnyDependency: TypeAlias = uncalled_for.Dependency[Any]

#: The docket and the worker, while it is entered or runs, and the execution of the current run.
current_docket: ContextVar[Docket] = ContextVar("docket.current_docket")
current_worker: ContextVar[Worker] = ContextVar("docket.current_worker")


class _ExecutionVariable:
    """A context variable whose value is that of the run here, unless another one is set.

    A task may ask for its execution, and few do: it is made when it is asked for, so that the
    others pay for neither the execution nor a variable.
    """

    name = "docket.current_execution"

    def __init__(self) -> None:
        self._given: ContextVar[Execution] = ContextVar(self.name)

    def get(self, *default: Any) -> Any:
        """Return the value; without one the default, or LookupError."""
        given = self._given.get(None)
        if given is not None:
            return given
        run = run_here.get(None)
        if run is not None and run.execution is not None:
            return run.execution
        return self._given.get(*default)

    def set(self, execution: Execution) -> Token[Execution]:
        """Set another value in this context."""
        return self._given.set(execution)

    def reset(self, token: Token[Execution]) -> None:
        """Set the value as it was before a `set`."""
        self._given.reset(token)


current_execution = cast("ContextVar[Execution]", _ExecutionVariable())


class TaskRun:
    """The run that dependencies are resolved for."""

    __slots__ = ("docket", "execution", "worker")

    def __init__(self, docket: Docket, worker: Worker, execution: Execution) -> None:
        self.docket = docket
        self.worker = worker
        self.execution = execution


class Dependency(uncalled_for.Dependency[T_co]):
    """A value that a task asks for in the default or the `Annotated` metadata of a parameter.

    Subclass it to write your own: `__aenter__` returns the parameter's value, and `__aexit__` gets
    the exception of the task, if any. The one instance in the signature serves all runs at once:
    keep the state of a run in the object that `__aenter__` returns.

    In `Annotated[T, dependency]` it wraps the call: it is entered before the task and exited after
    it, while the parameter keeps the argument of the caller, or its default. Each run enters what
    `bind_to_parameter(name, value)` returns, which gets the argument (None without one).

    `Dependency.docket`, `.worker` and `.execution` are context variables: `self.execution.get()`.

    A class method `worker_lifecycle(docket, worker)` may return an async context manager, which
    surrounds each run of a worker that knows a task with this dependency.

    It is a subclass of `uncalled_for.Dependency`, whose other subclasses are dependencies as well.
    """

    docket: ClassVar[ContextVar[Docket]] = current_docket
    worker: ClassVar[ContextVar[Worker]] = current_worker
    execution: ClassVar[ContextVar[Execution]] = current_execution

    @classmethod
    def __subclasshook__(cls, subclass: type, /) -> bool:
        # By the MRO: issubclass of the base would come back here to ask its subclasses.
        if cls is Dependency:
            return uncalled_for.Dependency in subclass.__mro__
        return NotImplemented


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


class ProvidedDependency(Dependency[T_co]):
    """A dependency whose value comes from the run at once, without awaiting."""

    @abstractmethod
    def provide(self, run: TaskRun) -> T_co: ...

    async def __aenter__(self) -> T_co:
        """Provide the value for the current run, for a resolution that is not ours.

        Raises:
            LookupError: no task of a worker runs here.
        """
        try:
            run = TaskRun(current_docket.get(), current_worker.get(), current_execution.get())
        except LookupError:
            name = type(self).__name__.lstrip("_")
            raise LookupError(
                f"{name} needs the run of a task, and no task of a worker runs here"
            ) from None
        return self.provide_alone(run)

    def provide_alone(self, run: TaskRun) -> T_co:
        """Provide the value for a resolution that is not ours, or for a subclass's `__aenter__`."""
        return self.provide(run)

    def copy(self) -> Self:
        """Return a copy for one run."""
        # Not constructed, as subclasses have constructors of their own; nor by copy.copy, whose
        # protocol takes four times as long as this.
        copied = type(self).__new__(type(self))
        vars(copied).update(vars(self))
        return copied


@contextmanager
def current(docket: Docket, worker: Worker, execution: Execution | None = None) -> Generator[None]:
    """Set the context variables while the context lasts."""
    docket_token, worker_token = current_docket.set(docket), current_worker.set(worker)
    execution_token = None if execution is None else current_execution.set(execution)
    try:
        yield
    finally:
        if execution_token is not None:
            reset(current_execution, execution_token)
        reset(current_worker, worker_token)
        reset(current_docket, docket_token)


def reset(variable: ContextVar[Any], token: Token[Any]) -> None:
    """Reset a variable, unless its context is another by now.

    A fixture may enter a worker in one context and leave it in another, whose values end with it.
    """
    try:
        variable.reset(token)
    except ValueError:
        return


def is_dependency(value: object) -> TypeIs[AnyDependency]:
    """Return whether the value is a dependency, in a form that type checkers understand."""
    return isinstance(value, uncalled_for.Dependency)


def needs_closing(dependency: AnyDependency) -> bool:
    """Return whether its class overrides `__aexit__`."""
    return overrides(dependency, uncalled_for.Dependency, "__aexit__")


def is_provided(dependency: AnyDependency) -> TypeIs[ProvidedDependency[Any]]:
    """Return whether entering it only calls `provide`: a subclass may override `__aenter__`."""
    return (
        isinstance(dependency, ProvidedDependency)
        and not needs_closing(dependency)
        and not overrides(dependency, ProvidedDependency, "__aenter__")
    )


def overrides(dependency: AnyDependency, base: type[AnyDependency], method: str) -> bool:
    """Return whether its class overrides a method of a base."""
    return getattr(type(dependency), method) is not getattr(base, method)
