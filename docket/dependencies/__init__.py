"""Dependencies: what a task asks for in its signature.

`plan` compiles a signature into a plan when the task is registered, `resolve` executes the plan at
each run. One file a family: `functional` (Depends), `arguments`, `context`, `retry`, `timeout`,
`progress`; `base` says what a dependency is.
"""

from docket.dependencies.arguments import CallArgument, TaskArgument
from docket.dependencies.base import (
    Dependency,
    FailureHandler,
    Runtime,
    current_docket,
    current_execution,
    current_worker,
)
from docket.dependencies.context import (
    CurrentDocket,
    CurrentExecution,
    CurrentWorker,
    TaskKey,
    TaskLogger,
)
from docket.dependencies.errors import (
    CycleError,
    ForcedRetry,
    MissingArgument,
    UnresolvedDependencies,
)
from docket.dependencies.functional import Depends
from docket.dependencies.plan import Plan, compile_plan, get_dependency_parameters
from docket.dependencies.progress import Progress
from docket.dependencies.resolve import Resolution
from docket.dependencies.retry import ExponentialRetry, Retry
from docket.dependencies.timeout import Timeout

__all__ = [
    "CallArgument",
    "CurrentDocket",
    "CurrentExecution",
    "CurrentWorker",
    "CycleError",
    "Dependency",
    "Depends",
    "ExponentialRetry",
    "FailureHandler",
    "ForcedRetry",
    "MissingArgument",
    "Plan",
    "Progress",
    "Resolution",
    "Retry",
    "Runtime",
    "TaskArgument",
    "TaskKey",
    "TaskLogger",
    "Timeout",
    "UnresolvedDependencies",
    "compile_plan",
    "current_docket",
    "current_execution",
    "current_worker",
    "get_dependency_parameters",
]
