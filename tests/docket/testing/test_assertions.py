"""docket.testing: what the assertions accept, and what they say when they fail."""

from datetime import UTC, datetime, timedelta

import pytest

from docket import Docket, Worker
from docket.testing import (
    assert_no_tasks,
    assert_task_count,
    assert_task_not_scheduled,
    assert_task_scheduled,
)
from tests.support.dockets import Gate, at_work, finish, soon

pytestmark = pytest.mark.anyio


async def send(*args: object, **kwargs: object) -> None: ...


async def other() -> None: ...


@pytest.fixture
async def busy(docket: Docket) -> Docket:
    """One task that is queued, one that is scheduled."""
    await docket.add(send, key="first")(1, to="x")
    await docket.add(send, datetime.now(UTC) + timedelta(hours=1), "second")(2)
    return docket


THERE = (
    "  - send(args=(1,), kwargs={'to': 'x'}, key='first')\n"
    "  - send(args=(2,), kwargs={}, key='second')"
)


async def test_a_task_is_found_by_whatever_is_asked_of_it(busy: Docket) -> None:
    await assert_task_scheduled(busy, send)
    await assert_task_scheduled(busy, "send")
    await assert_task_scheduled(busy, send, args=(1,))
    await assert_task_scheduled(busy, send, key="second")
    await assert_task_scheduled(busy, send, args=(1,), kwargs={"to": "x"}, key="first")


@pytest.mark.statement(46)
@pytest.mark.parametrize(
    ("kwargs", "matches"),
    [
        ({}, True),
        ({"to": "x"}, True),
        ({"cc": ["y", "z"]}, True),
        ({"copies": None}, True),
        ({"to": "x", "cc": ["y", "z"], "copies": None}, True),
        ({"to": "y"}, False),
        ({"to": "x", "cc": ["y"]}, False),
        ({"bcc": None}, False),
        ({"to": "x", "bcc": "w"}, False),
    ],
    ids=str,
)
async def test_a_task_matches_if_it_has_at_least_these_keyword_arguments(
    docket: Docket, kwargs: dict[str, object], matches: bool
) -> None:
    await docket.add(send)(1, to="x", cc=["y", "z"], copies=None)

    for assertion, holds in (
        (assert_task_scheduled, matches),
        (assert_task_not_scheduled, not matches),
    ):
        if holds:
            await assertion(docket, send, kwargs=kwargs)
            continue
        with pytest.raises(AssertionError, match=r"^Task send (not found with|found but)"):
            await assertion(docket, send, kwargs=kwargs)


@pytest.mark.statement(46)
@pytest.mark.parametrize("args", [(), (1,), (1, 2, 3), (2, 1)])
async def test_positional_arguments_match_exactly(docket: Docket, args: tuple[int, ...]) -> None:
    await docket.add(send)(1, 2)

    await assert_task_scheduled(docket, send, args=(1, 2))
    await assert_task_not_scheduled(docket, send, args=args)


@pytest.mark.parametrize(
    ("criteria", "shown"),
    [
        ({}, "function=other"),
        ({"args": (1,)}, "function=other, args=(1,)"),
        (
            {"args": (1,), "kwargs": {"a": 2}, "key": "k"},
            "function=other, key='k', args=(1,), kwargs={'a': 2}",
        ),
    ],
)
async def test_a_task_that_is_not_there_fails_and_shows_what_is(
    busy: Docket, criteria: dict[str, object], shown: str
) -> None:
    with pytest.raises(AssertionError) as failure:
        await assert_task_scheduled(busy, other, **criteria)  # type: ignore[arg-type]

    assert str(failure.value) == (f"Task other not found with {shown}\n\nScheduled tasks:\n{THERE}")


async def test_a_task_that_differs_in_one_thing_is_not_found(busy: Docket) -> None:
    for criteria in ({"args": (3,)}, {"kwargs": {"to": "y"}}, {"key": "third"}):
        with pytest.raises(AssertionError, match="Task send not found with function=send, "):
            await assert_task_scheduled(busy, send, **criteria)  # type: ignore[arg-type]
        await assert_task_not_scheduled(busy, send, **criteria)  # type: ignore[arg-type]


@pytest.mark.statement(47)
@pytest.mark.parametrize(
    "criteria", [{}, {"key": "k"}, {"args": (1,)}, {"kwargs": {}}, {"kwargs": {"to": "x"}}], ids=str
)
async def test_an_empty_docket_says_that_nothing_is_there(
    docket: Docket, criteria: dict[str, object]
) -> None:
    for function in ("send", send):
        with pytest.raises(AssertionError) as failure:
            await assert_task_scheduled(docket, function, **criteria)  # type: ignore[arg-type]

        assert str(failure.value) == "Task send not found: no tasks scheduled on docket"


async def test_a_task_that_should_not_be_there_is_shown(busy: Docket) -> None:
    await assert_task_not_scheduled(busy, other)

    with pytest.raises(AssertionError) as failure:
        await assert_task_not_scheduled(busy, send, key="second")

    assert str(failure.value) == (
        "Task send found but should not be scheduled\n"
        "Found: send(args=(2,), kwargs={}, key='second')"
    )


async def test_tasks_are_counted_all_or_by_task(busy: Docket) -> None:
    await assert_task_count(busy, count=2)
    await assert_task_count(busy, send, count=2)
    await assert_task_count(busy, "other", count=0)

    with pytest.raises(AssertionError) as failure:
        await assert_task_count(busy, count=3)
    assert str(failure.value) == f"Expected 3 all tasks, found 2\n{THERE}"
    with pytest.raises(AssertionError) as failure:
        await assert_task_count(busy, other, count=1)
    assert str(failure.value) == "Expected 1 tasks for other, found 0"


async def test_an_empty_docket_has_no_tasks(docket: Docket) -> None:
    await assert_no_tasks(docket)
    await docket.add(other)()

    with pytest.raises(AssertionError, match=r"Expected no tasks, found 1 task\(s\) scheduled:\n"):
        await assert_no_tasks(docket)
    await finish(docket)
    await assert_no_tasks(docket)


async def test_what_runs_is_not_scheduled(docket: Docket) -> None:
    gate = Gate()

    async with Worker(docket) as worker, at_work(worker):
        await docket.add(gate.pass_through)()
        await soon(gate.reached.wait())

        await assert_no_tasks(docket)
        await assert_task_not_scheduled(docket, gate.pass_through)
        gate.opened.set()
