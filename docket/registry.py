"""The registry of a process's tasks: their functions by name, and their compiled dependencies."""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, cast

from uncalled_for import CycleError

from docket.dependencies.perpetual import perpetual_of, refuse_required_arguments
from docket.dependencies.plan import Plan, runnable_plan
from docket.dependencies.prepared_plans import plan_of
from docket.errors import UnknownTask
from docket.execution import TaskFunction
from docket.tasks import standard_tasks

logger = logging.getLogger("docket.registry")


# Kept, since codecs keep what they know of a function.
@lru_cache(maxsize=256)
def _placeholder(name: str) -> TaskFunction:
    """Make the stand-in for the function of a task that is not registered here."""

    async def unregistered(*args: Any, **kwargs: Any) -> Any:
        raise UnknownTask(name)

    unregistered.__name__ = unregistered.__qualname__ = name
    return unregistered


class Registry:
    """The registered tasks; those of docket.tasks are registered from the start."""

    def __init__(self) -> None:
        #: The registered tasks by name.
        self.tasks: dict[str, TaskFunction] = {}
        #: Their compiled dependencies by name, for the executor.
        self.plans: dict[str, Plan] = {}
        #: The names of which a second function was told.
        self._reported: set[str] = set()
        for function in standard_tasks:
            self.register(function)

    def register(self, function: TaskFunction, names: list[str] | None = None) -> None:
        """Register a task, so that it can be scheduled by name and run by workers.

        A function whose name another one has takes its place, and a warning names both, once.

        Args:
            function: an async function; or a plain one, which is called in a thread.
            names: the names to register it under; its own by default.

        Raises:
            TypeError: it yields, or has no name of its own and none is given.
            ValueError: its dependencies cannot work; see docket.dependencies. An automatic task
                requires arguments. (A circle fails the runs of the task.)
        """
        _refuse_generator(function)
        try:
            plan = plan_of(function)
        except CycleError:
            plan = runnable_plan(function)  # Its runs fail; who calls it may pass what is circular.
        known_as = names or [name_of(function)]
        refuse_required_arguments(known_as[0], plan)
        for name in known_as:
            self._report_second(name, function)
            self.tasks[name] = function
            self.plans[name] = plan

    def _report_second(self, name: str, function: TaskFunction) -> None:
        known = self.tasks.get(name)
        if known is None or name in self._reported or _is_same(known, function):
            return
        self._reported.add(name)
        logger.warning(
            "Two functions are registered as task %r: %s, and now %s, which runs for both. Give "
            "one of them a name of its own: register(function, names=[...])",
            name,
            _described(known),
            _described(function),
        )

    def function_of(self, name: str) -> TaskFunction:
        """Return the task of this name, or a stand-in of that name if it is not registered here."""
        return self.tasks.get(name) or _placeholder(name)

    def is_perpetual(self, name: str) -> bool:
        """Return True if the task of this name, as registered here, is perpetual."""
        plan = self.plans.get(name)
        return plan is not None and not plan.bare and perpetual_of(plan) is not None

    def register_collection(self, collection_path: str) -> None:
        """Register every task of a collection.

        Args:
            collection_path: "module:attribute"; the attribute is an iterable of functions.

        Raises:
            ValueError: the path does not have that form, or two functions have one name.
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
        functions = _functions_of(collection, collection_path)
        _refuse_second_of_a_name(functions, collection_path)
        for function in functions:
            self.register(function)

    def resolve(self, function: TaskFunction | str) -> tuple[str, TaskFunction]:
        """Return the name and function of a task, and register it if it is not yet.

        Raises:
            KeyError: no task of that name is registered.
            TypeError, ValueError: as `register`.
        """
        if isinstance(function, str):
            if function not in self.tasks:
                raise UnknownTask(function)
            return function, self.tasks[function]
        name = name_of(function)
        known = self.tasks.get(name)
        if known is not function and not _is_same(known, function):
            self.register(function)
        return name, function


def _refuse_generator(function: TaskFunction) -> None:
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(
            f"{function!r} cannot be a task, because it yields: a task is a function that returns"
        )


def name_of(function: TaskFunction) -> str:
    """Return the default name of a function. Raises TypeError if it has none."""
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


def _refuse_second_of_a_name(functions: Iterable[TaskFunction], path: str) -> None:
    named: dict[str, TaskFunction] = {}
    for function in functions:
        name = name_of(function)
        first = named.setdefault(name, function)
        if not _is_same(first, function):
            raise ValueError(
                f"Task collection {path!r} holds two functions named {name!r}, {_described(first)} "
                f"and {_described(function)}: rename one of them. Nothing was registered"
            )


def _is_same(known: TaskFunction | None, function: TaskFunction) -> bool:
    # A bound method is made anew by each access, and is equal to the one before.
    return known is function or (inspect.ismethod(known) and known == function)


def _described(function: TaskFunction) -> str:
    name = getattr(function, "__qualname__", None) or name_of(function)
    text = f"{getattr(function, '__module__', None)}.{name}"
    if inspect.ismethod(function):
        text += f" of {object.__repr__(function.__self__)}"
    code = getattr(function, "__code__", None)
    return text if code is None else f"{text} ({code.co_filename}:{code.co_firstlineno})"
