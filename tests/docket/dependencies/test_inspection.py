"""What extensions ask of a function, and the other names that they use."""

import pickle
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest

from docket import Depends, Docket, Execution, Perpetual, Retry, Worker
from docket import dependencies as exported
from docket.dependencies import (
    DuplicateDependency,
    FailedDependency,
    format_duration,
    get_annotation_dependencies,
    get_dependency_parameters,
    get_single_dependency_of_type,
    get_single_dependency_parameter_of_type,
    resolved_dependencies,
    validate_dependencies,
)

pytestmark = pytest.mark.anyio

retry = Retry()
annotated = Retry()


async def task(
    a: int, b: Annotated[Any, annotated, "more"] = 1, c: Annotated[int, "words"] = 2
) -> None: ...


async def with_default(a: int, r: Retry = retry) -> None: ...


def test_dependencies_of_annotations_are_told_by_parameter() -> None:
    assert get_annotation_dependencies(task) == {"b": [annotated]}
    assert get_dependency_parameters(task) == {}
    assert get_annotation_dependencies(with_default) == {}


def test_one_of_a_class_is_found() -> None:
    assert get_single_dependency_parameter_of_type(with_default, Retry) is retry
    assert get_single_dependency_parameter_of_type(with_default, Perpetual) is None
    assert get_single_dependency_of_type(get_dependency_parameters(with_default), Retry) is retry


def test_a_function_is_validated() -> None:
    async def two(a: Retry = Retry(), b: Retry = Retry()) -> None: ...

    validate_dependencies(with_default)
    with pytest.raises(ValueError, match="Only one Retry dependency is allowed per task"):
        validate_dependencies(two)


async def test_what_resolves_and_what_fails_is_given_as_values(docket: Docket) -> None:
    closed: list[str] = []

    async def resource() -> Any:
        yield "resource"
        closed.append("resource")

    async def task(a: int, r: Any = Depends(resource), f: Any = Depends(lambda: 1 / 0)) -> None: ...

    execution = Execution(docket, task, (1,), {}, "k", datetime.now(UTC), 1)
    async with Worker(docket) as worker, resolved_dependencies(worker, execution) as values:
        assert values["r"] == "resource"
        failed = values["f"]
        assert set(values) == {"r", "f"}
        assert closed == []
    assert closed == ["resource"]
    assert isinstance(failed, FailedDependency)
    assert failed.parameter == "f"
    assert isinstance(failed.error, ZeroDivisionError)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "     0ms"),
        (0.0124, "    12ms"),
        (5.25, "  5250ms"),
        (99.9994, " 99999ms"),
        (100, "   100s "),
        (1234567, "1234567s "),
        (-3, " -3000ms"),
        (-101, "-101000ms"),
    ],
)
@pytest.mark.statement(18)
def test_durations_are_shown_in_eight_characters(seconds: float, shown: str) -> None:
    assert format_duration(seconds) == shown


def test_a_duplicate_survives_pickling() -> None:
    message = "Only one Retry dependency is allowed per task"
    error = ExceptionGroup("failed", [DuplicateDependency(message, "Retry")])
    again = pickle.loads(pickle.dumps(error))
    assert again.exceptions[0].kind == "Retry"
    assert str(again.exceptions[0]) == message


def test_the_documented_names_are_exported() -> None:
    documented = (
        "Dependency Runtime FailureHandler CompletionHandler TaskOutcome FailedDependency "
        "ForcedRetry SharedContext current_docket current_worker current_execution "
        "format_duration get_annotation_dependencies get_dependency_parameters "
        "get_single_dependency_of_type get_single_dependency_parameter_of_type "
        "resolved_dependencies validate_dependencies Perpetual Cron Shared Timeout"
    )
    missing = [name for name in documented.split() if name not in exported.__all__]
    assert missing == []
