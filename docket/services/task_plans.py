"""The plans that a worker executes: those of the docket, with the worker's dependencies added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docket.dependencies.base import Dependency
from docket.dependencies.errors import DuplicateDependency, UnresolvedDependencies
from docket.dependencies.plan import Plan, compile_plan
from docket.execution import TaskFunction


class TaskPlans:
    """The plans of a worker's tasks, each compiled once, when first needed.

    Args:
        plans: the docket's plans, by the task's name.
        around: the worker's own dependencies, by name.
    """

    def __init__(self, plans: Mapping[str, Plan], around: Mapping[str, Dependency[Any]]) -> None:
        self._plans = plans
        self._around = around
        self._compiled: dict[TaskFunction, Plan | DuplicateDependency] = {}

    def of_task(self, name: str, function: TaskFunction) -> Plan:
        """Return the plan of a registered task.

        Raises:
            UnresolvedDependencies: the task and the worker both have a dependency of a class that
                allows one.
        """
        return self.of_function(function) if self._around else self._plans[name]

    def of_function(self, function: TaskFunction) -> Plan:
        """Return the plan of a function that is not registered; raises as `of_task`."""
        plan = self._compiled.get(function)
        if plan is None:
            plan = self._compiled[function] = self._compile(function)
        if isinstance(plan, DuplicateDependency):
            raise UnresolvedDependencies(
                f"Failed to resolve dependencies for parameter(s): __conflict_{plan.kind}__", [plan]
            )
        return plan

    def _compile(self, function: TaskFunction) -> Plan | DuplicateDependency:
        try:
            return compile_plan(function, self._around)
        except DuplicateDependency as error:
            return error
