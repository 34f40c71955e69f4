"""Names that authors of dependencies use."""

from typing import Any

import pytest
import uncalled_for

import docket
from docket import dependencies, execution
from docket.dependencies import AdmissionBlocked, Dependency, DependencyFunction, Depends
from tests.support.runs import Run, call

pytestmark = pytest.mark.anyio


class Named(Dependency[str]):
    def __init__(self, name: str = "") -> None:
        self.name = name

    def for_parameter(self, name: str) -> "Named":
        return Named(name)

    async def __aenter__(self) -> str:
        return self.name


class Plain(Dependency[int]):
    async def __aenter__(self) -> int:
        return 1


@pytest.mark.statement(50)
async def test_a_default_is_told_its_parameter_and_by_default_is_entered_itself() -> None:
    plain: Any = Plain()
    assert plain.for_parameter("a") is plain
    assert plain.bind_to_parameter("a", 1) is plain

    def inside(third: Any = Named()) -> str:
        return third

    async def task(first: Any = Named(), second: Any = Named(), t: str = Depends(inside)) -> Any:
        return first, second, t

    assert await call(task) == ("first", "second", "third")


@pytest.mark.statement(49)
def test_what_depends_takes_has_a_name() -> None:
    def load() -> int:
        return 1

    function: DependencyFunction[int] = load
    assert isinstance(Depends(function), type(Depends(load)))


@pytest.mark.statement(52)
def test_the_names_that_libraries_reach_for() -> None:
    assert isinstance(docket.Depends(print), getattr(dependencies, "_Depends"))  # noqa: B009
    assert isinstance(docket.Depends(print), type(uncalled_for.Depends(print)))
    for module, name in (dependencies, "_parameter_cache"), (execution, "_signature_cache"):
        assert getattr(module, name).pop(print, None) is None
    theirs = type(uncalled_for.Depends(print))
    assert getattr(dependencies, "_Depends").cache is theirs.cache  # noqa: B009
    assert getattr(dependencies, "_Depends").stack is theirs.stack  # noqa: B009


@pytest.mark.statement(41)
def test_a_blocked_task_says_by_what() -> None:
    run: Any = Run(print, key="the key")
    assert str(AdmissionBlocked(run)) == "Task the key blocked by admission control"
    assert str(AdmissionBlocked(run, "a gate")) == "Task the key blocked by a gate"
