"""Dependencies as users write them."""

from typing import Any

import pytest

from docket.dependencies import (
    Dependency,
    Retry,
    current_execution,
)
from tests.support.runs import Run, call, execute

pytestmark = pytest.mark.anyio


class Session(Dependency[str]):
    """As users write theirs."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def __aenter__(self) -> str:
        self.events.append(f"entered for {self.execution.get().key}")
        return f"{self.docket.get().name} {self.worker.get().name}"

    async def __aexit__(self, exc_type: Any, exc: Any, tb: Any) -> None:
        self.events.append(f"left with {exc!r} for {current_execution.get().key}")


async def test_a_dependency_of_ones_own_is_entered_and_left_and_knows_where_it_is() -> None:
    session = Session()

    async def task(fails: bool, s: Any = session) -> str:
        if fails:
            raise ValueError("no")
        return s

    assert await call(task, False) == "the-docket the-worker"
    with pytest.raises(ValueError, match="no"):
        await call(task, True)

    assert session.events == [
        "entered for the-key",
        "left with None for the-key",
        "entered for the-key",
        "left with ValueError('no') for the-key",
    ]


async def test_a_dependency_that_has_nothing_to_close_needs_no_exit() -> None:
    class Number(Dependency[int]):
        async def __aenter__(self) -> int:
            return 7

    async def task(n: Any = Number()) -> int:
        return n

    assert await call(task) == 7
    assert await Number().__aexit__(None, None, None) is None


async def test_a_subclass_that_enters_in_its_own_way_is_entered() -> None:
    class Tagged(Retry):
        async def __aenter__(self) -> Any:
            return ("tagged", await super().__aenter__())

    async def task(r: Any = Tagged(attempts=3)) -> Any:
        return r

    tag, retry = await execute(Run(task, attempt=2))

    assert tag == "tagged"
    assert (type(retry), retry.attempt, retry.attempts) == (Tagged, 2, 3)
