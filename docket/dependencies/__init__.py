"""Dependencies: the values that a task asks for in its signature.

`plan` compiles a signature into a plan when the task is registered, `resolution` executes the plan
for each run. Each family has a file: `functional` (Depends), `shared`, `arguments`, `context`,
`retry`, `timeout`, `perpetual`, `cron`, `progress`, and the limits. `base` defines a dependency,
`handlers` the decisions after a run, `worker_dependencies` those that a worker adds to every task,
and `inspection` serves extensions.
"""

from docket.clock import format_duration
from docket.dependencies.arguments import CallArgument, TaskArgument
from docket.dependencies.base import (
    Dependency,
    Runtime,
    current_docket,
    current_execution,
    current_worker,
)
from docket.dependencies.concurrency import ConcurrencyLimit
from docket.dependencies.context import (
    CurrentDocket,
    CurrentExecution,
    CurrentWorker,
    TaskKey,
    TaskLogger,
)
from docket.dependencies.cooldown import Cooldown
from docket.dependencies.cron import Cron
from docket.dependencies.debounce import Debounce
from docket.dependencies.errors import (
    AdmissionBlocked,
    ConcurrencyBlocked,
    CycleError,
    DuplicateDependency,
    ForcedRetry,
    MissingArgument,
    UnresolvedDependencies,
)
from docket.dependencies.functional import Depends
from docket.dependencies.handlers import CompletionHandler, FailureHandler, TaskOutcome
from docket.dependencies.inspection import (
    FailedDependency,
    get_annotation_dependencies,
    get_single_dependency_of_type,
    get_single_dependency_parameter_of_type,
    resolved_dependencies,
    validate_dependencies,
)
from docket.dependencies.perpetual import Perpetual
from docket.dependencies.plan import Plan, compile_plan, get_dependency_parameters
from docket.dependencies.progress import Progress
from docket.dependencies.ratelimit import RateLimit
from docket.dependencies.resolution import Resolution
from docket.dependencies.retry import ExponentialRetry, Retry
from docket.dependencies.shared import Shared, SharedContext
from docket.dependencies.timeout import Timeout
from docket.dependencies.worker_dependencies import named_dependencies

__all__ = [
    "AdmissionBlocked",
    "CallArgument",
    "CompletionHandler",
    "ConcurrencyBlocked",
    "ConcurrencyLimit",
    "Cooldown",
    "Cron",
    "CurrentDocket",
    "CurrentExecution",
    "CurrentWorker",
    "CycleError",
    "Debounce",
    "Dependency",
    "Depends",
    "DuplicateDependency",
    "ExponentialRetry",
    "FailedDependency",
    "FailureHandler",
    "ForcedRetry",
    "MissingArgument",
    "Perpetual",
    "Plan",
    "Progress",
    "RateLimit",
    "Resolution",
    "Retry",
    "Runtime",
    "Shared",
    "SharedContext",
    "TaskArgument",
    "TaskKey",
    "TaskLogger",
    "TaskOutcome",
    "Timeout",
    "UnresolvedDependencies",
    "compile_plan",
    "current_docket",
    "current_execution",
    "current_worker",
    "format_duration",
    "get_annotation_dependencies",
    "get_dependency_parameters",
    "get_single_dependency_of_type",
    "get_single_dependency_parameter_of_type",
    "named_dependencies",
    "resolved_dependencies",
    "validate_dependencies",
]
