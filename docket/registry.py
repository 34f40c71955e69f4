"""What a process knows of tasks: their functions by name, and their compiled dependencies."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable
from typing import Any, cast

from docket.dependencies.perpetual import perpetual_of, refuse_required_arguments
from docket.dependencies.plan import Plan, compile_plan
from docket.errors import UnknownTask
from docket.execution import TaskFunction
from docket.tasks import standard_tasks


async def _unregistered(*args: Any, **kwargs: Any) -> Any:
    """Stands for the function of an execution whose task is not registered here."""
    raise UnknownTask("of this execution")


class Registry:
    """The registered tasks; those of docket.tasks are registered from the start."""

    def __init__(self) -> None:
        #: The registered tasks by name.
        self.tasks: dict[str, TaskFunction] = {}
        #: Their compiled dependencies, by name: an executor runs these.
        self.plans: dict[str, Plan] = {}
        for function in standard_tasks:
            self.register(function)

    def register(self, function: TaskFunction, names: list[str] | None = None) -> None:
        """Make a task known, so that it can be scheduled by name and run by workers.

        Args:
            function: an async function.
            names: what to know it as; its own name by default.

        Raises:
            TypeError: it yields, or has no name of its own and none is given.
            ValueError, CycleError: its dependencies cannot work; see docket.dependencies. An
                automatic task requires arguments.
        """
        _refuse_generator(function)
        plan = compile_plan(function)
        known_as = names or [name_of(function)]
        refuse_required_arguments(known_as[0], plan)
        for name in known_as:
            self.tasks[name] = function
            self.plans[name] = plan

    def function_of(self, name: str) -> TaskFunction:
        """The task of this name, or what stands for one that is not registered here."""
        return self.tasks.get(name, _unregistered)

    def is_perpetual(self, name: str) -> bool:
        """Whether the task of this name, as it is registered here, runs again and again."""
        plan = self.plans.get(name)
        return plan is not None and not plan.bare and perpetual_of(plan) is not None

    def register_collection(self, collection_path: str) -> None:
        """Register every task of a collection.

        Args:
            collection_path: "module:attribute"; the attribute is an iterable of functions.

        Raises:
            ValueError: the path has not that form.
            ImportError: the module does not import.
            AttributeError: it has no such attribute.
            TypeError: the attribute is not an iterable of functions.
        """
        module_name, separator, attribute = collection_path.partition(":")
        if not (module_name and separator and attribute):
            raise ValueError(
                f"Task collection {collection_path!r} is not of the form 'module:collection'"
            )
        module = importlib.import_module(module_name)
        try:
            collection = getattr(module, attribute)
        except AttributeError:
            raise AttributeError(
                f"Module {module_name!r} has no collection {attribute!r}: nothing was registered"
            ) from None
        for function in _functions_of(collection, collection_path):
            self.register(function)

    def resolve(self, function: TaskFunction | str) -> tuple[str, TaskFunction]:
        """Name and function of a task, which is registered if it is not yet.

        Raises:
            KeyError: no task of that name is registered.
            TypeError, ValueError, CycleError: as `register`.
        """
        if isinstance(function, str):
            if function not in self.tasks:
                raise UnknownTask(function)
            return function, self.tasks[function]
        name = name_of(function)
        if self.tasks.get(name) is not function:
            self.register(function)
        return name, function


def _refuse_generator(function: TaskFunction) -> None:
    # A plain `def` may return a coroutine (a decorator's wrapper does): only a run can tell.
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(
            f"{function!r} cannot be a task, because it yields: a task is an async function "
            "that returns"
        )


def name_of(function: TaskFunction) -> str:
    """The name that a function is registered under if none is given. TypeError: it has none."""
    name = getattr(function, "__name__", None)
    if not isinstance(name, str):
        raise TypeError(
            f"{function!r} has no name that it could be known by: register it under one, with "
            "`register(function, names=[...])`, and schedule it by that name"
        )
    return name


def _functions_of(collection: object, path: str) -> list[TaskFunction]:
    if not isinstance(collection, Iterable):
        raise TypeError(f"Task collection {path!r} is a {type(collection).__name__}, not iterable")
    functions = list(cast("Iterable[object]", collection))
    for function in functions:
        if not callable(function):
            raise TypeError(f"Task collection {path!r} holds {function!r}, which is not a function")
    return cast("list[TaskFunction]", functions)
