"""One execution of a task: its call, its record, its events and its result."""

from docket.execution.execution import (
    Disposition,
    Execution,
    ExecutionCancelled,
    ExecutionProgress,
    ExecutionState,
    ProgressEvent,
    StateEvent,
    TaskFunction,
)

__all__ = [
    "Disposition",
    "Execution",
    "ExecutionCancelled",
    "ExecutionProgress",
    "ExecutionState",
    "ProgressEvent",
    "StateEvent",
    "TaskFunction",
]
