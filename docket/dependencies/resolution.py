"""Resolution of a task's dependencies for one run, by its plan."""

from __future__ import annotations

import inspect
from contextlib import AsyncExitStack
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from docket.dependencies.base import (
    Dependency,
    Runtime,
    ScopedRuntime,
    TaskRun,
    current_docket,
    current_execution,
    current_worker,
)
from docket.dependencies.errors import UnresolvedDependencies
from docket.dependencies.functional import Functional
from docket.dependencies.handlers import CompletionHandler, FailureHandler
from docket.dependencies.limits import requests_of
from docket.dependencies.plan import Plan, Step
from docket.store.limits import LimitRequest

if TYPE_CHECKING:
    from docket.docket import Docket
    from docket.execution import Execution
    from docket.worker import Worker


class Resolution(TaskRun):
    """The dependencies of one run: entered before the call, exited after it in reverse order.

        async with Resolution(plan, docket=docket, worker=worker, execution=execution) as kwargs:
            result = await function(*execution.args, **kwargs)

    As with any `async with`, a dependency may suppress the task's exception: the run then completes
    without a result.
    """

    __slots__ = ("_plan", "_stack", "_tokens", "_values")

    def __init__(self, plan: Plan, *, docket: Docket, worker: Worker, execution: Execution) -> None:
        super().__init__(docket, worker, execution)
        self._plan = plan.given(execution.args, execution.kwargs)
        self._values: list[Any] = []
        #: Made once there is something to close: most plans have nothing.
        self._stack: AsyncExitStack | None = None
        self._tokens: tuple[Token[Docket], Token[Worker], Token[Execution]] | None = None

    async def __aenter__(self) -> dict[str, object]:
        """Resolve every dependency, once.

        Returns:
            The keyword arguments of the call: the caller's and the resolved ones.

        Raises:
            UnresolvedDependencies: some failed (an ExceptionGroup of the causes). Those that do not
                need them were tried as well, so that all failures are reported at once; everything
                entered was exited again.
        """
        self._tokens = (
            current_docket.set(self.docket),
            current_worker.set(self.worker),
            current_execution.set(self.execution),
        )
        try:
            await self._resolve()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        values = self._values
        kwargs = dict(self.execution.kwargs)
        for name, index in self._plan.outputs:
            kwargs[name] = values[index]
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
            self._leave_context()

    def requests(self) -> list[LimitRequest]:
        """Return the limit requests to be granted before resolution; empty for most tasks."""
        return requests_of(self._plan.gates, self) if self._plan.gates else []

    def failure_handler(self) -> FailureHandler[Any] | None:
        """Return the task's failure handler, which also handles a failed resolution."""
        return self._acting(self._plan.failure_handler, FailureHandler)

    def completion_handler(self) -> CompletionHandler[Any] | None:
        """Return the task's completion handler, if any."""
        return self._acting(self._plan.completion_handler, CompletionHandler)

    def runtime(self) -> Runtime[Any] | None:
        """Return the runtime that makes the call, if it is more than a scope around it."""
        return self._acting(self._plan.runtime, Runtime)

    def _acting(self, index: int | None, kind: type[Dependency[Any]]) -> Any:
        if index is None:
            return None
        if index < len(self._values) and isinstance(self._values[index], kind):
            return self._values[index]
        # Resolution did not reach it, or its value is not the dependency itself.
        return self._plan.steps[index].dependency

    async def _resolve(self) -> None:
        failures: dict[int, Exception] = {}
        values = self._values
        for index, step in enumerate(self._plan.steps):
            cause = _failed_input(step, failures) if failures else None
            if cause is not None:
                failures[index] = cause
                values.append(None)
                continue
            try:
                if step.provide is not None:
                    values.append(step.provide(self))
                else:
                    values.append(await self._open(step))
            except Exception as error:
                failures[index] = error
                values.append(None)
        if failures:
            self._settle(failures)

    def _settle(self, failures: dict[int, Exception]) -> None:
        """Handle the failures of steps."""
        raise self._unresolved(failures)

    async def _open(self, step: Step) -> object:
        dependency = step.dependency
        if isinstance(dependency, Functional):
            return await self._call(dependency, step)
        if step.shared is not None:
            return await self.worker.shared.value(*step.shared, self)
        if isinstance(dependency, ScopedRuntime):
            return await self._closing().enter_async_context(dependency.scope(self))
        if step.closes:
            return await self._closing().enter_async_context(dependency)
        return await dependency.__aenter__()

    async def _call(self, dependency: Functional, step: Step) -> object:
        arguments = dict(step.constants)
        for name, index in step.inputs:
            arguments[name] = self._values[index]
        produced = dependency.produce(**arguments)
        if dependency.is_coroutine:
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

    def _unresolved(self, failures: dict[int, Exception]) -> UnresolvedDependencies:
        wanted = (*self._plan.hidden, *self._plan.outputs)
        names = [name for name, index in wanted if index in failures]
        causes = list({id(error): error for error in failures.values()}.values())
        return UnresolvedDependencies(
            f"Failed to resolve dependencies for parameter(s): {', '.join(names)}", causes
        )

    def _leave_context(self) -> None:
        if self._tokens is not None:
            docket, worker, execution = self._tokens
            self._tokens = None
            current_execution.reset(execution)
            current_worker.reset(worker)
            current_docket.reset(docket)


def _failed_input(step: Step, failures: dict[int, Exception]) -> Exception | None:
    return next((failures[index] for _, index in step.inputs if index in failures), None)
