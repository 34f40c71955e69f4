"""Dependencies that give a task its docket, worker, execution, key and logger."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, cast

from docket.dependencies.base import ProvidedDependency, TaskRun

if TYPE_CHECKING:
    from docket.docket import Docket
    from docket.execution import Execution
    from docket.worker import Worker


class _CurrentDocket(ProvidedDependency["Docket"]):
    def provide(self, run: TaskRun) -> Docket:
        return run.docket


class _CurrentWorker(ProvidedDependency["Worker"]):
    def provide(self, run: TaskRun) -> Worker:
        return run.worker


class _CurrentExecution(ProvidedDependency["Execution"]):
    def provide(self, run: TaskRun) -> Execution:
        return run.execution


class _TaskKey(ProvidedDependency[str]):
    def provide(self, run: TaskRun) -> str:
        return run.execution.key


if TYPE_CHECKING:
    TaskLoggerAdapter = logging.LoggerAdapter[logging.Logger]
else:
    TaskLoggerAdapter = logging.LoggerAdapter


class ContextLogger(TaskLoggerAdapter):
    """A logger that adds the run's context to each record and keeps the caller's own `extra`.

    The standard adapter drops the caller's `extra` before Python 3.13.
    """

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        own = dict(self.extra or {})
        own.update(kwargs.get("extra") or {})
        kwargs["extra"] = own
        return msg, kwargs


class _TaskLogger(ProvidedDependency["logging.LoggerAdapter[logging.Logger]"]):
    def provide(self, run: TaskRun) -> logging.LoggerAdapter[logging.Logger]:
        execution = run.execution
        return ContextLogger(
            logging.getLogger(f"docket.task.{execution.function_name}"),
            {**run.worker.labels(), **execution.specific_labels()},
        )


def CurrentDocket() -> Docket:  # noqa: N802 - public API
    """Give a parameter the docket of the task, to schedule more work."""
    return cast("Docket", _CurrentDocket())


def CurrentWorker() -> Worker:  # noqa: N802 - public API
    """Give a parameter the worker that runs the task."""
    return cast("Worker", _CurrentWorker())


def CurrentExecution() -> Execution:  # noqa: N802 - public API
    """Give a parameter the execution of the task: its key, its attempt, its due time."""
    return cast("Execution", _CurrentExecution())


def TaskKey() -> str:  # noqa: N802 - public API
    """Give a parameter the key of the running task."""
    return cast(str, _TaskKey())


def TaskLogger() -> logging.LoggerAdapter[logging.Logger]:  # noqa: N802 - public API
    """Give a parameter the logger `docket.task.NAME`.

    Each of its records has the attributes `docket.name`, `docket.worker`, `docket.task`,
    `docket.key`, `docket.when` and `docket.attempt`.
    """
    return cast("logging.LoggerAdapter[logging.Logger]", _TaskLogger())
