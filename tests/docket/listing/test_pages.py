"""Listings: each state, filters, cursors, counts, and the display of calls."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated

import pytest

from docket import ConcurrencyLimit, Docket, Logged, Worker
from docket.listing import ExecutionSummary, Filter, ListedState, Page
from tests.support.dockets import at_work, soon
from tests.support.store import until

pytestmark = pytest.mark.anyio


async def send(order: Annotated[str, Logged()], secret: str = "") -> None:
    if order == "bad":
        raise ValueError("bad order")


async def bill(number: int = 0) -> None: ...


async def one_by_one(limit: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=1)) -> None:
    await asyncio.sleep(3600)


def in_hours(hours: float) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


async def run(docket: Docket) -> None:
    await soon(Worker(docket).run_until_finished())


def keys(page: Page) -> list[str]:
    return [execution.key for execution in page.executions]


async def every_page(docket: Docket, limit: int, **wanted: object) -> list[ExecutionSummary]:
    found: list[ExecutionSummary] = []
    cursor = None
    while True:
        page = await docket.executions(limit=limit, cursor=cursor, **wanted)  # pyright: ignore[reportArgumentType]
        found += page.executions
        cursor = page.cursor
        if cursor is None:
            return found


async def test_scheduled_ones_are_listed_by_time_and_queued_ones_in_order(docket: Docket) -> None:
    await docket.add(bill, in_hours(2), "later")()
    await docket.add(bill, in_hours(1), "soon")()
    await docket.add(bill, key="first")()
    await docket.add(bill, key="second")()

    assert keys(await docket.executions("scheduled")) == ["soon", "later"]
    assert keys(await docket.executions(ListedState.QUEUED)) == ["first", "second"]
    assert keys(await docket.executions()) == ["first", "second", "soon", "later"]


async def test_running_ones_tell_their_worker_and_those_that_wait_their_limit(
    docket: Docket,
) -> None:
    docket.register(one_by_one)
    await docket.add(one_by_one, key="a")()
    await docket.add(one_by_one, key="b")()
    async with at_work(Worker(docket, name="w1")):
        await until(lambda: _waits(docket))
        (running,) = (await docket.executions("running")).executions
        (waiting,) = (await docket.executions("waiting")).executions
        of_worker = keys(await docket.executions("running", worker="w1"))
        of_another = keys(await docket.executions("running", worker="w2"))

    assert {running.key, waiting.key} == {"a", "b"}
    assert running.worker == "w1"
    assert running.started_at is not None
    assert len(waiting.waits_for) == 1
    assert of_worker == [running.key]
    assert of_another == []


async def _waits(docket: Docket) -> bool:
    return (await docket.counts()).by_state[ListedState.WAITING] == 1


async def test_ended_ones_are_listed_the_newest_first(docket: Docket) -> None:
    docket.register(send)
    for order in ("one", "two", "bad"):
        await docket.add(send, key=order)(order)
        await run(docket)
    await docket.add(send, in_hours(1), "gone")("three")
    await docket.cancel("gone")

    assert keys(await docket.executions("completed")) == ["two", "one"]
    assert keys(await docket.executions("failed")) == ["bad"]
    assert keys(await docket.executions("cancelled")) == ["gone"]
    counts = (await docket.counts()).by_state
    assert {s.value: n for s, n in counts.items() if n} == {
        "completed": 2,
        "failed": 1,
        "cancelled": 1,
    }


async def test_a_key_that_is_used_again_leaves_the_list_of_those_that_ended(docket: Docket) -> None:
    await docket.add(bill, key="k")()
    await run(docket)
    await docket.add(bill, in_hours(1), "k")()

    assert keys(await docket.executions("completed")) == []


async def test_the_call_shows_what_is_logged_and_no_more(docket: Docket) -> None:
    await docket.add(send, in_hours(1), "k")("o-1", secret="hunter2")
    await docket.add(bill, in_hours(2), "n")(7)
    await docket.add(bill, in_hours(3), "e")()

    page = await docket.executions()

    assert [e.call for e in page.executions] == [
        "send('o-1', secret=...)",
        "bill(...)",
        "bill()",
    ]


async def test_under_msgpack_all_arguments_are_shown(server: str, docket_name: str) -> None:
    async with Docket(docket_name, server, serializer="msgpack") as docket:
        await docket.add(bill, in_hours(1), "k")(7)
        await docket.add(bill, in_hours(2), "n")(number=8)
        page = await docket.executions()

    assert [e.call for e in page.executions] == ["bill(7)", "bill(number=8)"]


async def test_filters_by_function_key_error_and_time(docket: Docket) -> None:
    docket.register(send)
    for hours in range(1, 5):
        await docket.add(bill, in_hours(hours), f"bill-{hours}")()
        await docket.add(send, in_hours(hours), f"send-{hours}")("x")
    await docket.add(send, key="failed")("bad")
    await soon(Worker(docket).run_at_most({"failed": 1}))
    span = {"since": in_hours(1.5), "until": in_hours(3.5)}

    assert keys(await docket.executions(function="bill", limit=2)) == ["bill-1", "bill-2"]
    assert keys(await docket.executions(key_prefix="send-4")) == ["send-4"]
    assert keys(await docket.executions("scheduled", function="send", **span)) == [
        "send-2",
        "send-3",
    ]
    assert keys(await docket.executions(error="ValueError")) == ["failed"]
    assert keys(await docket.executions(error="KeyError")) == []


@pytest.mark.parametrize("limit", [1, 3, 1000])
async def test_pages_have_every_execution_once(docket: Docket, limit: int) -> None:
    at = in_hours(1)
    calls = [docket.call(bill, at, f"same-{n:02}")() for n in range(20)]
    calls += [docket.call(bill, in_hours(2 + n), f"later-{n}")() for n in range(5)]
    calls += [docket.call(bill, key=f"now-{n}")() for n in range(7)]
    await docket.add_many(calls)

    listed = [e.key for e in await every_page(docket, limit)]

    assert len(listed) == 32
    assert len(set(listed)) == 32
    assert listed[:7] == [f"now-{n}" for n in range(7)]
    assert listed[7:27] == [f"same-{n:02}" for n in range(20)]


async def test_a_page_goes_on_where_the_last_one_ended_though_that_execution_is_gone(
    docket: Docket,
) -> None:
    at = in_hours(1)
    await docket.add_many([docket.call(bill, at, f"k{n}")() for n in range(9)])
    first = await docket.executions("scheduled", limit=4)
    for key in ("k0", "k3", "k5"):
        await docket.cancel(key)

    second = await docket.executions("scheduled", limit=4, cursor=first.cursor)

    assert keys(second) == ["k4", "k6", "k7", "k8"]


async def test_a_rare_filter_gives_a_page_with_fewer_and_a_cursor(docket: Docket) -> None:
    at = in_hours(1)
    await docket.add_many([docket.call(bill, at, f"k{n:03}")() for n in range(600)])
    await docket.add(send, in_hours(2), "rare")("x")

    page = await docket.executions_matching(Filter.of(function="send"), most_looked_at=300)

    assert keys(page) == []
    assert page.cursor is not None
    assert page.looked_at < 600
    assert [e.key for e in await every_page(docket, 50, function="send")] == ["rare"]


# Bad input ----------------------------------------------------------------------------------------


async def test_an_unknown_state_is_refused_with_the_known_ones(docket: Docket) -> None:
    with pytest.raises(ValueError, match="no state 'done'; the states are running, queued"):
        await docket.executions("done")


@pytest.mark.parametrize("limit", [0, 1001])
async def test_a_limit_out_of_bounds_is_refused(docket: Docket, limit: int) -> None:
    with pytest.raises(ValueError, match="limit must be between 1 and 1000"):
        await docket.executions(limit=limit)


async def test_an_empty_span_of_time_and_a_naive_instant_are_refused(docket: Docket) -> None:
    with pytest.raises(ValueError, match="nothing can match"):
        await docket.executions(since=in_hours(2), until=in_hours(1))
    with pytest.raises(TypeError):
        await docket.executions(since=datetime(2026, 1, 1))  # noqa: DTZ001


async def test_a_cursor_of_another_filter_or_docket_is_refused(docket: Docket, server: str) -> None:
    await docket.add_many([docket.call(bill, in_hours(1), f"k{n}")() for n in range(3)])
    cursor = (await docket.executions("scheduled", limit=1)).cursor

    with pytest.raises(ValueError, match="another filter"):
        await docket.executions("queued", cursor=cursor)
    async with Docket("another", server) as another:
        with pytest.raises(ValueError, match="another docket"):
            await another.executions("scheduled", cursor=cursor)


@pytest.mark.parametrize("cursor", ["", "nonsense", "AAAA", "é", "=" * 1000])
async def test_what_is_no_cursor_is_refused(docket: Docket, cursor: str) -> None:
    with pytest.raises(ValueError, match="no cursor"):
        await docket.executions(cursor=cursor)


async def test_records_of_somebody_else_are_left_out_and_cost_nobody_the_page(
    docket: Docket,
) -> None:
    await docket.add(bill, in_hours(1), "good")()
    await docket.add(bill, in_hours(2), "bad")()
    await docket.add(bill, in_hours(3), "worse")()
    async with docket.redis() as redis:
        await redis.hset(docket.keys.record("bad"), "state", "nonsense")
        await redis.hset(docket.keys.record("bad"), "when", "x")
        await redis.delete(docket.keys.record("worse"))
        await redis.set(docket.keys.record("worse"), "no hash")
        await redis.lpush(docket.keys.completed, "nonsense", "1 2", "")

    assert keys(await docket.executions()) == ["good"]
    assert await docket.describe("nothing") is None
