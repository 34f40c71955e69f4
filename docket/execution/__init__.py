"""One execution of a task: its call, its record, its events and its result."""

from docket import injection
from docket.calls import TaskCall
from docket.errors import ExecutionCancelled
from docket.execution.disposition import Disposition
from docket.execution.events import ProgressEvent, StateEvent
from docket.execution.execution import Execution, TaskFunction
from docket.execution.progress import ExecutionProgress
from docket.execution.signatures import compact_signature, get_signature
from docket.lifecycle import ExecutionState

__all__ = [
    "Disposition",
    "Execution",
    "ExecutionCancelled",
    "ExecutionProgress",
    "ExecutionState",
    "ProgressEvent",
    "StateEvent",
    "TaskCall",
    "TaskFunction",
    "compact_signature",
    "get_signature",
]

# For libraries that change the signature of a function.
_signature_cache = injection.signature_cache
