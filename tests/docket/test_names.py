"""What users import, and from where."""

import importlib
import subprocess
import sys
from collections.abc import Iterable

import pytest

import docket
from docket.execution import TaskFunction
from docket.tasks import TaskCollection, standard_tasks

NAMES = {
    "__version__",
    "Agenda",
    "CallArgument",
    "CurrentDocket",
    "CurrentExecution",
    "CurrentWorker",
    "CycleError",
    "Depends",
    "Disposition",
    "Docket",
    "Execution",
    "ExecutionCancelled",
    "ExecutionState",
    "ExponentialRetry",
    "Logged",
    "Progress",
    "Retry",
    "StrikeList",
    "TaskArgument",
    "TaskCall",
    "TaskKey",
    "TaskLogger",
    "Timeout",
    "Worker",
    "testing",
}

MODULES = {
    "docket.docket": {
        *("Docket", "DocketSnapshot", "RunningExecution", "WorkerInfo", "Disposition"),
        *("Execution", "ExecutionState", "StrikeList", "Strike", "Restore", "TaskCollection"),
    },
    "docket.agenda": {"Agenda"},
    "docket.strikelist": {"Operator", "Restore", "Strike", "StrikeInstruction", "StrikeList"},
    "docket.testing": {
        "assert_no_tasks",
        "assert_task_count",
        "assert_task_not_scheduled",
        "assert_task_scheduled",
    },
    "docket.execution": {
        "Disposition",
        "Execution",
        "ExecutionCancelled",
        "ExecutionProgress",
        "ExecutionState",
        "TaskCall",
        "TaskFunction",
        "compact_signature",
        "get_signature",
    },
    "docket.worker": {
        *("Worker", "Docket", "Execution", "TaskFunction", "healthcheck_server", "metrics_server"),
        *("AdmissionBlocked", "CompletionHandler", "CurrentExecution", "Dependency", "TaskKey"),
        *("FailedDependency", "FailureHandler", "Perpetual", "Runtime", "SharedContext"),
        *("TaskLogger", "TaskOutcome", "current_docket", "current_worker", "format_duration"),
        *("get_annotation_dependencies", "get_single_dependency_of_type"),
        *("get_single_dependency_parameter_of_type", "resolved_dependencies"),
    },
    "docket.annotations": {"Logged"},
    "docket.dependencies": {"Depends", "Retry", "Progress", "TaskKey"},
    "docket.tasks": {"trace", "fail", "sleep", "standard_tasks", "TaskCollection"},
    "docket.errors": {"DocketError", "ExecutionCancelled", "UnknownTask", "TaskError"},
}


def test_the_package_exports_these_names_and_has_them_all() -> None:
    assert set(docket.__all__) >= NAMES
    assert sorted(docket.__all__) == sorted(set(docket.__all__))
    assert all(hasattr(docket, name) for name in docket.__all__)


@pytest.mark.statement(49)
@pytest.mark.parametrize("module", MODULES)
def test_the_module_has_the_names_that_users_import_from_it(module: str) -> None:
    found = vars(importlib.import_module(module))

    assert MODULES[module] <= set(found)


@pytest.mark.statement(49)
def test_names_that_are_in_several_places_are_the_same_thing() -> None:
    found: dict[str, object] = {name: getattr(docket, name) for name in docket.__all__}

    for module, names in MODULES.items():
        for name in names:
            value = getattr(importlib.import_module(module), name)
            assert found.setdefault(name, value) is value, f"{module}.{name}"


@pytest.mark.statement(49)
def test_a_collection_is_an_iterable_of_task_functions() -> None:
    assert TaskCollection == Iterable[TaskFunction]
    assert isinstance(standard_tasks, Iterable)


IN_A_FRESH_PROCESS = """
import sys
import docket
elsewhere = ("docket.worker", "docket.services", "docket.listing", "docket.cli", "docket.web")
loaded = {name for name in sys.modules if name.startswith(tuple(f"{each}." for each in elsewhere))}
loaded |= set(elsewhere) & set(sys.modules)
loaded |= {
    "docket.instrumentation.collector",
    "docket.instrumentation.http_server",
    "docket.store.embedded.embedded_server",
} & set(sys.modules)
assert not loaded, loaded
assert {"Worker", "__version__"} <= set(dir(docket))
assert docket.worker.Worker is docket.Worker
assert docket.Worker is sys.modules["docket.worker"].Worker
from docket import *
assert Worker is docket.Worker
try:
    docket.nothing
except AttributeError as error:
    assert "module 'docket' has no attribute 'nothing'" in str(error), error
else:
    raise AssertionError("there is an attribute of any name")
"""


def test_a_producer_imports_nothing_of_workers_until_it_asks_for_one() -> None:
    subprocess.run([sys.executable, "-c", IN_A_FRESH_PROCESS], check=True, timeout=60)


def test_the_version_is_text() -> None:
    assert docket.__version__.count(".") >= 2
