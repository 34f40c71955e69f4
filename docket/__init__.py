"""docket: background tasks for asyncio on Redis or Valkey.

Schedule coroutines now, later or forever; run them with a `Worker`, or with a pool of processes
under `docket-supervisor`.
"""

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from docket.worker import Worker

    __version__: str

warn_of_the_original(__path__)

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


def __getattr__(name: str) -> Any:
    """Import the worker, and look up the version, when they are asked for.

    A process that only adds tasks needs neither: the one is a fifth of the code, the other reads
    the metadata of what is installed.
    """
    if name == "Worker":
        value: Any = importlib.import_module("docket.worker").Worker
    elif name == "worker":
        return importlib.import_module("docket.worker")
    elif name == "__version__":
        value = _version()
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, value)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    try:
        return version("docket-supervisor")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "0.0.0"
