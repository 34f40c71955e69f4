"""Resolution of a task's dependencies for one run, by its plan."""

from __future__ import annotations

import inspect
from contextlib import AsyncExitStack
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import uncalled_for
from uncalled_for import CycleError

from docket.dependencies.base import AnyDependency, Runtime, TaskRun, is_dependency, reset
from docket.dependencies.errors import unresolved
from docket.dependencies.functional import ValueFactory
from docket.dependencies.handlers import CompletionHandler, FailureHandler
from docket.dependencies.limits import requests_of
from docket.dependencies.plan import Plan, Step
from docket.injection import Functional, current_frame_variable
from docket.store.limits import LimitRequest

if TYPE_CHECKING:
    from docket.docket import Docket
    from docket.execution import Execution
    from docket.worker import Worker

#: Marks a step that is not resolved yet.
_PENDING: Any = object()
#: Marks a step that is being resolved.
_RESOLVING: Any = object()


class Resolution(TaskRun):
    """The dependencies of one run: entered before the call, exited after it in reverse order.

        async with Resolution(plan, docket=docket, worker=worker, execution=execution) as kwargs:
            result = await function(*execution.args, **kwargs)

    As with any `async with`, a dependency may suppress the task's exception: the run then completes
    without a result.
    """

    __slots__ = (
        "_cache",
        "_cannot_work",
        "_failures",
        "_passed",
        "_plan",
        "_stack",
        "_tokens",
        "_values",
    )

    def __init__(self, plan: Plan, *, docket: Docket, worker: Worker, execution: Execution) -> None:
        super().__init__(docket, worker, execution)
        self._plan = given = plan.given(execution.args, execution.kwargs)
        self._values: list[Any] = [_PENDING] * len(given.steps)
        #: By index, as the values.
        self._failures: dict[int, Exception] = {}
        #: Made once there is something to close: most plans have nothing.
        self._stack: AsyncExitStack | None = None
        self._tokens: list[tuple[ContextVar[Any], Token[Any]]] = []
        #: The values of this run for dependencies that resolve others by themselves.
        self._cache: dict[Any, Any] | None = None
        #: Dependencies that the caller passed by name, where the signature has another.
        self._passed: tuple[AnyDependency, ...] = ()
        if given is not plan:
            values = ((name, execution.kwargs.get(name)) for name in plan.parameters)
            self._passed = tuple(value for _, value in values if is_dependency(value))
        #: True after a failure that no retry can mend.
        self._cannot_work = given.fault is not None

    async def __aenter__(self) -> dict[str, object]:
        """Resolve every dependency, once.

        Returns:
            The keyword arguments of the call: the caller's and the resolved ones.

        Raises:
            ExceptionGroup: some failed; it holds a cause for each parameter. Those that do not
                need them were tried as well, so that all failures are reported at once; everything
                entered was exited again.
            CycleError: the dependencies of the task form a cycle.
        """
        try:
            await self._resolve()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        values, execution = self._values, self.execution
        kwargs = dict(execution.kwargs)
        for name, index in self._plan.outputs:
            kwargs[name] = values[index]
        for argument, index in self._plan.fillers:
            if not argument.is_passed(execution):
                kwargs[argument.name] = values[index]
        return kwargs

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool | None:
        try:
            if self._stack is None:
                return None
            return await self._stack.__aexit__(exc_type, exc_value, traceback)
        finally:
            self._leave()

    def requests(self) -> list[LimitRequest]:
        """Return the limit requests to be granted before resolution; empty for most tasks."""
        return requests_of(self._plan.gates, self) if self._plan.gates else []

    def failure_handler(self) -> FailureHandler[Any] | None:
        """Return the task's failure handler, which also handles a failed resolution.

        None after a failure that no retry can mend, since it is of the setup and not of this run.
        """
        if self._cannot_work:
            return None
        return self._acting(self._plan.failure_handler, FailureHandler)

    def completion_handler(self) -> CompletionHandler[Any] | None:
        """Return the task's completion handler, if any."""
        return self._acting(self._plan.completion_handler, CompletionHandler)

    def runtime(self) -> Runtime[Any] | None:
        """Return the runtime that makes the call, if any."""
        return self._acting(self._plan.runtime, Runtime)

    def _acting(self, index: int | None, kind: type[Any]) -> Any:
        for passed in self._passed:
            if isinstance(passed, kind):
                return passed
        if index is None:
            return None
        if isinstance(self._values[index], kind):
            return self._values[index]
        # Resolution did not reach it, or it failed, or its value is not the dependency itself.
        step = self._plan.steps[index]
        if step.provide is None or index in self._failures:
            return step.dependency
        return step.provide(self)

    async def _resolve(self) -> None:
        if self._plan.fault is not None:
            raise self._plan.fault()
        if self._plan.runs_code:
            self._enter()
        values = self._values
        for index, step in enumerate(self._plan.steps):
            if values[index] is _PENDING:
                await self._settle(index, step)
        if self._failures:
            self._fail(self._failures)

    async def _settle(self, index: int, step: Step) -> None:
        """Set the value of a step, or its failure."""
        failures = self._failures
        cause = _failed_input(step, failures) if failures else None
        if cause is None:
            try:
                if step.provide is not None:
                    self._values[index] = step.provide(self)
                else:
                    self._values[index] = _RESOLVING
                    self._values[index] = await self._open(step)
                return
            except Exception as error:
                self._cannot_work |= step.refuses or isinstance(error, CycleError)
                cause = error
        failures[index] = cause
        self._values[index] = None

    def _fail(self, failures: dict[int, Exception]) -> None:
        """Handle the failures of steps."""
        causes: dict[str, Exception] = {}
        for name, index in self._plan.wanted:
            if index in failures:
                causes.setdefault(name, failures[index])
        raise unresolved(causes)

    async def _open(self, step: Step) -> object:
        if step.factory is not None:
            if self._cache is None:
                return await self._produce(step.factory, step)
            return await self._share_value(step.factory, step, self._cache)
        if step.shared is not None:
            return await self.worker.shared.value(*step.shared, self)
        dependency = step.dependency
        if step.binding is not None:
            bound = step.binding.provide(self) if not step.inputs else self._inputs(step)[0]
            dependency = dependency.bind_to_parameter(step.binding.name, bound)
        elif step.parameter:
            dependency = dependency.for_parameter(step.parameter)
        if step.closes:
            return await self._closing().enter_async_context(dependency)
        return await dependency.__aenter__()

    def _inputs(self, step: Step) -> list[Any]:
        return [self._values[index] for _, index in step.inputs]

    async def _produce(self, factory: ValueFactory, step: Step) -> object:
        arguments = dict(step.constants)
        for name, index in step.inputs:
            arguments[name] = self._values[index]
        produced = factory.produce(**arguments)
        if factory.is_coroutine:
            return await produced
        kind = type(cast(object, produced))
        if hasattr(kind, "__aenter__"):
            return await self._closing().enter_async_context(produced)
        if hasattr(kind, "__enter__"):
            return self._closing().enter_context(produced)
        return await produced if inspect.isawaitable(produced) else produced

    def _closing(self) -> AsyncExitStack:
        if self._stack is None:
            self._stack = AsyncExitStack()
        return self._stack

    # For code that resolves dependencies by itself ---------------------------------------

    def _enter(self) -> None:
        """Make this resolution the one in progress for uncalled_for, and all that builds on it."""
        self._set(current_frame_variable, _CallFrame(self, self._plan))
        if self._plan.enters:
            self._share()

    def _share(self) -> None:
        self._cache = {}
        self._set(Functional.cache, self._cache)
        self._set(Functional.stack, self._closing())

    async def _share_value(
        self, factory: ValueFactory, step: Step, cache: dict[Any, Any]
    ) -> object:
        if factory.key is None:
            return await self._produce(factory, step)
        if factory.key not in cache:
            cache[factory.key] = await self._produce(factory, step)
        return cache[factory.key]

    def _set(self, variable: ContextVar[Any], value: object) -> None:
        self._tokens.append((variable, variable.set(value)))

    def _leave(self) -> None:
        while self._tokens:
            reset(*self._tokens.pop())

    def is_resolving(self, index: int) -> bool:
        """Return whether a step is being resolved, so that it cannot be asked for."""
        return self._values[index] is _RESOLVING

    async def demand(self, index: int) -> object:
        """Return the value of a step that another one asks for while it is entered."""
        await self._reach(index)
        if index in self._failures:
            raise self._failures[index]
        return self._values[index]

    async def _reach(self, index: int) -> None:
        if self._values[index] is _PENDING:
            step = self._plan.steps[index]
            for _, needed in step.inputs:
                await self._reach(needed)
            await self._settle(index, step)


class _CallFrame(uncalled_for.Frame):
    """The call as other libraries see it, with the values of its plan.

    Its public attributes are set when one is first asked for, as most runs never do.
    """

    def __init__(self, resolution: Resolution, plan: Plan) -> None:
        self._resolution = resolution
        self._plan = plan

    def __getattr__(self, name: str) -> Any:
        if "function" in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        execution, declared = self._resolution.execution, self._plan.declared
        passed = dict(zip(declared.positions, execution.args, strict=False))
        super().__init__(self._plan.function, {**passed, **execution.kwargs}, declared.parameters)
        return getattr(self, name)

    async def resolve(self, name: str, *, provided_only: bool = False) -> Any:
        index = None if provided_only else dict(self._plan.outputs).get(name)
        if index is None:
            return await super().resolve(name, provided_only=provided_only)
        if self._resolution.is_resolving(index):
            raise CycleError(
                f"Circular argument reference in {self.function.__qualname__}: "
                f"{' -> '.join([name, *self.resolving, name])}"
            )
        self.resolving.append(name)
        try:
            return await self._resolution.demand(index)
        finally:
            self.resolving.pop()


def _failed_input(step: Step, failures: dict[int, Exception]) -> Exception | None:
    return next((failures[index] for _, index in step.inputs if index in failures), None)
