"""Agendas: collected calls, spread over a time."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from docket import Agenda, Disposition, Docket, Execution, ExecutionState
from docket.errors import UnknownTask
from docket.store.coalescing import BATCH_LIMIT
from tests.support.dockets import finish, found, result_of, warm_up

pytestmark = pytest.mark.anyio

START = datetime(2100, 1, 1, tzinfo=UTC)


async def echo(value: object = None) -> object:
    return value


def agenda_of(count: int) -> Agenda:
    agenda = Agenda()
    for n in range(count):
        agenda.add(echo)(n)
    return agenda


def seconds(executions: list[Execution], start: datetime = START) -> list[float]:
    return [(execution.when - start).total_seconds() for execution in executions]


def test_an_agenda_holds_calls_in_their_order_until_it_is_cleared() -> None:
    agenda = Agenda()
    agenda.add(echo)(1)
    agenda.add("by name", key="key")(2, option=3)

    assert len(agenda) == 2
    assert list(agenda) == [(echo, (1,), {}, None), ("by name", (2,), {"option": 3}, "key")]
    agenda.clear()
    assert len(agenda) == 0
    assert list(agenda) == []


@pytest.mark.parametrize(
    ("count", "times"),
    [(1, [45]), (2, [0, 90]), (3, [0, 45, 90]), (4, [0, 30, 60, 90]), (0, [])],
)
async def test_tasks_are_spread_evenly_and_a_single_one_goes_to_the_middle(
    docket: Docket, count: int, times: list[float]
) -> None:
    executions = await agenda_of(count).scatter(docket, timedelta(seconds=90), START)

    assert seconds(executions) == times
    assert [execution.args for execution in executions] == [(n,) for n in range(count)]
    assert {e.state for e in executions} <= {ExecutionState.SCHEDULED}
    for execution in executions:
        assert (await found(docket, execution.key)).when == execution.when


async def test_without_a_start_it_begins_now(docket: Docket) -> None:
    before = datetime.now(UTC)

    first, last = await agenda_of(2).scatter(docket, over=timedelta(hours=1))

    assert abs(first.when - before) < timedelta(seconds=10)
    assert abs(last.when - first.when - timedelta(hours=1)) < timedelta(milliseconds=2)


async def test_what_falls_into_the_past_is_due_at_once(docket: Docket) -> None:
    executions = await agenda_of(3).scatter(
        docket, over=timedelta(seconds=1), start=datetime(2000, 1, 1, tzinfo=UTC)
    )

    await finish(docket)

    assert [await result_of(execution) for execution in executions] == [0, 1, 2]


async def test_jitter_moves_each_by_no_more_than_it_and_none_to_before_the_start(
    docket: Docket,
) -> None:
    jitter = timedelta(seconds=20)

    executions = await agenda_of(50).scatter(docket, timedelta(seconds=49), START, jitter)

    offsets = seconds(executions)
    assert all(max(0, n - 20) <= offset <= n + 20.001 for n, offset in enumerate(offsets))
    assert len(set(offsets)) > 10


@pytest.mark.parametrize("over", [timedelta(0), timedelta(seconds=-1)])
async def test_a_time_that_is_not_positive_is_refused(docket: Docket, over: timedelta) -> None:
    with pytest.raises(ValueError, match="'over' parameter must be a positive duration"):
        await agenda_of(1).scatter(docket, over)


async def test_a_name_that_is_not_registered_is_refused_before_anything_is_scheduled(
    docket: Docket,
) -> None:
    agenda = agenda_of(2)
    agenda.add("nobody")(1)

    with pytest.raises(UnknownTask, match="Task 'nobody' is not registered"):
        await agenda.scatter(docket, timedelta(hours=1))

    assert (await docket.snapshot()).total_tasks == 0


async def test_a_stricken_task_is_refused_before_anything_is_scheduled(docket: Docket) -> None:
    await docket.strike(echo, "value", "==", 1)

    with pytest.raises(ValueError, match="Task 'echo' is stricken: nothing of the agenda"):
        await agenda_of(3).scatter(docket, timedelta(hours=1))

    assert (await docket.snapshot()).total_tasks == 0
    assert len(await agenda_of(1).scatter(docket, timedelta(hours=1))) == 1


async def test_a_task_that_is_stricken_meanwhile_is_told(docket: Docket) -> None:
    asked: list[object] = []

    def the_second_time(execution: Execution) -> bool:
        asked.append(execution.args)
        return asked.count((1,)) > 1

    docket.strike_list.add_condition(the_second_time)

    with pytest.raises(ValueError, match="'echo' was stricken while the agenda was scheduled"):
        await agenda_of(2).scatter(docket, timedelta(hours=1))


async def test_a_task_that_cannot_be_scheduled_raises_why(docket: Docket) -> None:
    await docket.connections.client().set(docket.runs_key("taken"), "somebody's")
    agenda = Agenda()
    agenda.add(echo, key="taken")(1)

    with pytest.raises(RuntimeError, match="its record cannot be read: WRONGTYPE"):
        await agenda.scatter(docket, timedelta(hours=1))


async def test_an_agenda_can_be_scattered_again_and_keeps_keys_that_are_taken(
    docket: Docket,
) -> None:
    agenda = Agenda()
    agenda.add(echo, key="key")(1)
    agenda.add(echo)(2)

    await agenda.scatter(docket, timedelta(hours=1))
    again = await agenda.scatter(docket, timedelta(hours=1))

    assert [execution.disposition for execution in again] == [
        Disposition.ALREADY_SCHEDULED,
        Disposition.SCHEDULED,
    ]
    assert (await docket.snapshot()).total_tasks == 3


async def test_a_large_agenda_goes_through_the_batch_path(docket: Docket) -> None:
    await warm_up(docket)
    before = docket.connections.pipeline.round_trips

    await agenda_of(1000).scatter(docket, timedelta(hours=1))

    # A call for each batch; none waits for the one before.
    assert docket.connections.pipeline.round_trips - before <= math.ceil(1000 / BATCH_LIMIT)
