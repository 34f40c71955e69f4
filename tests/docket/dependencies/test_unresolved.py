"""Dependencies that fail: all told at once, all closed, the task not called."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from docket.dependencies import Depends
from tests.support.runs import call

pytestmark = pytest.mark.anyio


@pytest.mark.statement(35)
async def test_all_failures_are_told_at_once_with_their_causes_and_the_task_is_not_called() -> None:
    events: list[str] = []

    def broken() -> None:
        events.append("broken")
        raise ValueError("first cause")

    async def broken_too() -> None:
        raise KeyError("second cause")

    def needs_broken(x: None = Depends(broken)) -> None:
        events.append("never")

    @contextmanager
    def fine() -> Iterator[None]:
        events.append("fine opened")
        try:
            yield
        finally:
            events.append("fine closed")

    async def task(
        a: None = Depends(needs_broken),
        b: None = Depends(broken_too),
        c: None = Depends(fine),
        d: None = Depends(broken),
    ) -> None:
        events.append("never")

    with pytest.raises(ExceptionGroup) as caught:
        await call(task)

    assert caught.value.message == "Failed to resolve dependencies for parameter(s): a, b, d"
    assert [repr(e) for e in caught.value.exceptions] == [
        "ValueError('first cause')",
        "KeyError('second cause')",
        "ValueError('first cause')",
    ]
    assert type(caught.value) is ExceptionGroup
    assert events == ["broken", "fine opened", "fine closed"]


async def test_a_cancellation_while_resolving_closes_what_is_open_and_goes_on() -> None:
    closed = asyncio.Event()
    reached = asyncio.Event()

    @contextmanager
    def opened() -> Iterator[None]:
        try:
            yield
        finally:
            closed.set()

    async def never_ready(o: None = Depends(opened)) -> None:
        reached.set()
        await asyncio.Event().wait()

    async def task(n: None = Depends(never_ready)) -> None: ...

    running = asyncio.create_task(call(task))
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert closed.is_set()
