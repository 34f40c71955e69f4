"""What the task was called with reaches its dependencies."""

import pytest

from docket.dependencies import (
    CallArgument,
    Depends,
    TaskArgument,
    TaskKey,
)
from tests.support.runs import call

pytestmark = pytest.mark.anyio


async def test_a_task_argument_is_what_the_caller_passed_by_place_or_by_name() -> None:
    def twice(number: int = TaskArgument()) -> int:
        return 2 * number

    def shout(word: str = TaskArgument("name")) -> str:
        return word.upper()

    async def task(
        number: int, name: str = "", n: int = Depends(twice), s: str = Depends(shout)
    ) -> tuple[int, str]:
        return n, s

    assert await call(task, 2, name="ann") == (4, "ANN")
    assert await call(task, 2, "ann") == (4, "ANN")
    assert await call(task, name="ann", number=3) == (6, "ANN")


async def test_a_task_argument_finds_what_goes_to_keyword_parameters() -> None:
    def get(config: str = TaskArgument("config")) -> str:
        return config

    async def task(c: str = Depends(get), **more: str) -> str:
        return c

    assert await call(task, config="here") == "here"


async def test_a_task_argument_that_was_not_passed_fails_the_task_unless_optional() -> None:
    def needs(number: int = TaskArgument()) -> int:
        return number

    def takes(number: int | None = TaskArgument(optional=True)) -> int | None:
        return number

    async def strict(number: int = 1, n: int = Depends(needs)) -> None: ...

    async def lenient(number: int = 1, n: int | None = Depends(takes)) -> int | None:
        return n

    with pytest.raises(ExceptionGroup, match=r"parameter\(s\): n") as caught:
        await call(strict)
    [cause] = caught.value.exceptions
    assert repr(cause) == "KeyError('number')"
    assert await call(lenient) is None


async def test_a_call_argument_sees_the_caller_then_the_sibling_then_the_signature() -> None:
    def sibling() -> str:
        return "sibling"

    def report(
        a: str = CallArgument(),
        b: str = CallArgument("own"),
        c: str | None = CallArgument("nowhere", optional=True),
        d: str = CallArgument("nowhere", default="d"),
    ) -> object:
        return a, b, c, d

    async def task(
        a: str = "signature", r: object = Depends(report), own: str = Depends(sibling)
    ) -> object:
        return r

    assert await call(task) == ("signature", "sibling", None, "d")
    assert await call(task, a="caller", own="passed") == ("caller", "passed", None, "d")


@pytest.mark.statement(36)
async def test_a_task_argument_without_a_name_on_the_task_asks_for_itself() -> None:
    def twice(number: int = TaskArgument()) -> int:
        return 2 * number

    async def task(number: int, n: int = Depends(twice), own: int = TaskArgument()) -> int:
        return n + own

    with pytest.raises(ExceptionGroup, match=r"parameter\(s\): own$") as caught:
        await call(task, 2)
    [cause] = caught.value.exceptions
    assert (type(cause), str(cause)) == (ValueError, "No parameter name specified")
    assert await call(task, 2, own=3) == 7


async def test_a_call_argument_that_is_nowhere_fails_the_task() -> None:
    async def task(a: object = CallArgument("nowhere")) -> None: ...

    with pytest.raises(ExceptionGroup) as caught:
        await call(task)
    [cause] = caught.value.exceptions
    assert type(cause) is LookupError
    assert str(cause).endswith("task has no parameter named 'nowhere'")


async def test_bindings_come_before_the_defaults_of_the_function() -> None:
    def load(number: int = TaskArgument(), factor: int = 1) -> int:
        return number * factor

    async def task(
        order: int,
        a: int = Depends(load, number=TaskArgument("order")),
        b: int = Depends(load, number=3, factor=10),
    ) -> tuple[int, int]:
        return a, b

    assert await call(task, 7) == (7, 30)


async def test_what_the_caller_passes_for_a_dependency_counts() -> None:
    def never() -> str:
        raise AssertionError

    async def task(a: str = Depends(never), key: str = TaskKey()) -> tuple[str, str]:
        return a, key

    assert await call(task, "by place") == ("by place", "the-key")
    assert await call(task, a="by name", key="own") == ("by name", "own")
