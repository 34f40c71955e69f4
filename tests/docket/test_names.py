"""What users import, and from where."""

import importlib

import pytest

import docket

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
    "docket.docket": {"Docket", "DocketSnapshot", "RunningExecution", "WorkerInfo"},
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
        "TaskFunction",
    },
    "docket.worker": {"Worker"},
    "docket.annotations": {"Logged"},
    "docket.dependencies": {"Depends", "Retry", "Progress", "TaskKey"},
    "docket.tasks": {"trace", "fail", "sleep", "standard_tasks"},
    "docket.errors": {"DocketError", "ExecutionCancelled", "UnknownTask", "TaskError"},
}


def test_the_package_exports_these_names_and_has_them_all() -> None:
    assert set(docket.__all__) >= NAMES
    assert sorted(docket.__all__) == sorted(set(docket.__all__))
    assert all(hasattr(docket, name) for name in docket.__all__)


@pytest.mark.parametrize("module", MODULES)
def test_the_module_has_the_names_that_users_import_from_it(module: str) -> None:
    found = vars(importlib.import_module(module))

    assert MODULES[module] <= set(found)


def test_names_that_are_in_two_places_are_the_same_thing() -> None:
    from_package = {name: getattr(docket, name) for name in ("Execution", "Disposition")}

    for name, value in from_package.items():
        assert vars(importlib.import_module("docket.execution"))[name] is value


def test_the_version_is_text() -> None:
    assert docket.__version__.count(".") >= 2
