"""Dependencies: the values that a task asks for in its signature.

They are those of the package `uncalled_for` and ours: `Depends`, `Shared` and `CallArgument` make
its objects, every class of ours is a subclass of its `Dependency`, and the subclasses of others are
entered as they are.

`declarations` reads a signature, `plan` compiles it into a plan when the task is registered,
`resolution` executes the plan for each run. Each family has a file: `functional` (Depends),
`shared`, `arguments`, `context`, `retry`, `timeout`, `perpetual`, `cron`, `progress`, the limits.
`base` defines a dependency, `handlers` the decisions after a run, `duplicates` what excludes each
other, `worker_dependencies` those that a worker adds to every task, `worker_lifecycle` those that
surround a worker's run, and `inspection` serves extensions.
"""

from uncalled_for import CycleError, FailedDependency

from docket import injection
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
from docket.dependencies.declarations import (
    get_annotation_dependencies,
    get_dependency_parameters,
)
from docket.dependencies.errors import (
    AdmissionBlocked,
    ConcurrencyBlocked,
    DuplicateDependency,
    ForcedRetry,
)
from docket.dependencies.functional import DependencyFunction, Depends
from docket.dependencies.handlers import CompletionHandler, FailureHandler, TaskOutcome
from docket.dependencies.inspection import (
    get_single_dependency_of_type,
    get_single_dependency_parameter_of_type,
    resolved_dependencies,
    validate_dependencies,
)
from docket.dependencies.perpetual import Perpetual
from docket.dependencies.plan import Plan, compile_plan, runnable_plan
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
    "DependencyFunction",
    "Depends",
    "DuplicateDependency",
    "ExponentialRetry",
    "FailedDependency",
    "FailureHandler",
    "ForcedRetry",
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
    "runnable_plan",
    "validate_dependencies",
]

# For libraries that resolve dependencies by themselves, or change the signature of a function.
_Depends = injection.depends_class
_parameter_cache = injection.parameter_cache
