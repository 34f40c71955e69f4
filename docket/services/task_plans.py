"""The plans that a worker executes: those of the docket, with the worker's dependencies added."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import cast

from docket.dependencies.base import AnyDependency
from docket.dependencies.plan import Plan, runnable_plan
from docket.execution import TaskFunction
from docket.tasks import standard_tasks

logger = logging.getLogger("docket.worker")


class TaskPlans:
    """The plans of a worker's tasks, each compiled once.

    The tasks that cannot run are logged at once, each as an error: a deployment shows them before
    anybody calls them.

    Args:
        plans: the docket's plans, by the task's name.
        around: the worker's own dependencies, by name.
    """

    def __init__(self, plans: Mapping[str, Plan], around: Mapping[str, AnyDependency]) -> None:
        self._plans = plans
        self._around = around
        self._compiled: dict[TaskFunction, Plan] = {}
        for name, plan in plans.items():
            if plan.function in standard_tasks:
                continue  # Every docket has them, and nobody chose their Retry.
            fault = self.of_task(name, plan.function).fault
            if fault is not None:
                logger.error("Every run of task %r will fail: %s", name, _described(fault()))

    def of_task(self, name: str, function: TaskFunction) -> Plan:
        """Return the plan of a registered task."""
        return self.of_function(function) if self._around else self._plans[name]

    def of_function(self, function: TaskFunction) -> Plan:
        """Return the plan of a function that is not registered."""
        plan = self._compiled.get(function)
        if plan is None:
            plan = self._compiled[function] = runnable_plan(function, self._around)
        return plan


def _described(fault: Exception) -> str:
    if not isinstance(fault, ExceptionGroup):
        return str(fault)
    return ", ".join(map(str, cast("ExceptionGroup[Exception]", fault).exceptions))
