"""The signature of a task, in full and in short."""

import inspect
from typing import Annotated

import pytest

from docket import ConcurrencyLimit, CurrentDocket, Depends, Docket, Logged, Retry
from docket.execution import compact_signature, get_signature

pytestmark = pytest.mark.statement(49)


class Order: ...


async def plain() -> None: ...


async def bare(a, b=1): ...


async def typed(
    a: int, b: Order, c: str = "x", d: float | None = None, *rest: int, **more: str
) -> None: ...


async def annotated(
    a: Annotated[Order, Logged],
    b: Annotated[int, Logged(), ConcurrencyLimit(1)] = 2,
) -> None: ...


async def with_dependencies(
    a: str,
    docket: Docket = CurrentDocket(),
    retry: Retry = Retry(attempts=2),
    b: int = 3,
    made: str = Depends(plain),
) -> None: ...


async def only_dependencies(retry: Retry = Retry()) -> None: ...


TASKS = [plain, bare, typed, annotated, with_dependencies, only_dependencies]


@pytest.mark.parametrize("function", TASKS)
def test_the_signature_is_that_of_the_function(function: object) -> None:
    assert get_signature(function) == inspect.signature(function)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (plain, ""),
        (bare, "a, b = 1"),
        (
            typed,
            "a: int, b: Order, c: str = 'x', d: float | None = None, rest: int, more: str",
        ),
        (annotated, "a: Order, b: int = 2"),
        (with_dependencies, "a: str, b: int = 3, ..."),
        (only_dependencies, "..."),
    ],
)
def test_in_short_it_has_what_the_caller_gives(function: object, expected: str) -> None:
    assert compact_signature(get_signature(function)) == expected  # type: ignore[arg-type]
