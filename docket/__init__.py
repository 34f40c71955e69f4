"""docket: background tasks for asyncio on Redis or Valkey.

Schedule coroutines now, later or forever; run them with a `Worker`, or with a pool of processes
under `docket-supervisor`.
"""

from importlib.metadata import PackageNotFoundError, version

from docket import testing
from docket.agenda import Agenda
from docket.annotations import Logged
from docket.backlog import Backlog
from docket.calls import TaskCall
from docket.dependencies import (
    CallArgument,
    ConcurrencyLimit,
    Cooldown,
    Cron,
    CurrentDocket,
    CurrentExecution,
    CurrentWorker,
    CycleError,
    Debounce,
    Depends,
    ExponentialRetry,
    Perpetual,
    Progress,
    RateLimit,
    Retry,
    Shared,
    TaskArgument,
    TaskKey,
    TaskLogger,
    Timeout,
)
from docket.docket import Docket
from docket.errors import ExecutionCancelled
from docket.execution import Disposition, Execution, ExecutionState
from docket.installation import warn_of_the_original
from docket.statistics import FunctionStatistics, Statistics, Times
from docket.strikelist import StrikeList
from docket.worker import Worker

warn_of_the_original(__path__)

try:
    __version__ = version("docket-supervisor")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0.0.0"

__all__ = [
    "Agenda",
    "Backlog",
    "CallArgument",
    "ConcurrencyLimit",
    "Cooldown",
    "Cron",
    "CurrentDocket",
    "CurrentExecution",
    "CurrentWorker",
    "CycleError",
    "Debounce",
    "Depends",
    "Disposition",
    "Docket",
    "Execution",
    "ExecutionCancelled",
    "ExecutionState",
    "ExponentialRetry",
    "FunctionStatistics",
    "Logged",
    "Perpetual",
    "Progress",
    "RateLimit",
    "Retry",
    "Shared",
    "Statistics",
    "StrikeList",
    "TaskArgument",
    "TaskCall",
    "TaskKey",
    "TaskLogger",
    "Timeout",
    "Times",
    "Worker",
    "__version__",
    "testing",
]
