"""Searches: what a filter means is found whatever it says, and little is read to find it."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from docket import ConcurrencyLimit, Docket, Worker
from docket.listing import ExecutionSummary, Filter, ListedState, MatchCount
from docket.listing.pages import LEAST_LOOKED_AT
from tests.support.dockets import at_work, soon
from tests.support.store import until

pytestmark = pytest.mark.anyio


async def send(order: str) -> None:
    if order == "bad":
        raise ValueError("bad order")
    if order == "worse":
        raise KeyError("worse order")


async def stay(limit: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=1)) -> None:
    await asyncio.sleep(3600)


def in_hours(hours: float) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


async def every_page(docket: Docket, wanted: Filter, **options: Any) -> list[ExecutionSummary]:
    found: list[ExecutionSummary] = []
    cursor = None
    while True:
        page = await docket.executions_matching(wanted, 3, cursor, **options)
        found += page.executions
        cursor = page.cursor
        if cursor is None:
            return found


def filters(middle: datetime) -> list[Filter]:
    """Filters that mean some, all or none of what `test_..._whatever_it_says` makes."""
    return [
        Filter.of(),
        Filter.of(function="send"),
        Filter.of(function="nothing"),
        Filter.of(key_prefix="order-"),
        Filter.of(key_prefix="order-\u00e9"),
        Filter.of(key_prefix="nothing"),
        Filter.of(worker="one"),
        Filter.of(worker="nobody"),
        Filter.of(error="ValueError"),
        Filter.of(error="order"),
        Filter.of(error="order", key_prefix="order-1"),
        Filter.of(error="nothing"),
        Filter.of(since=middle),
        Filter.of(until=middle),
        Filter.of(since=middle, until=in_hours(48), function="send"),
        Filter.of(["running", "waiting"], function="stay"),
        Filter.of("queued", since=middle),
        Filter.of("failed", worker="one", error="KeyError", function="send"),
        Filter.of(["completed", "cancelled", "scheduled"], key_prefix="order-2"),
    ]


def is_meant(wanted: Filter, summary: ExecutionSummary) -> bool:
    """The meaning of a filter, said of what is shown and not of what is stored."""
    match summary.state:
        case ListedState.RUNNING:
            at = summary.started_at
        case ListedState.FAILED | ListedState.CANCELLED | ListedState.COMPLETED:
            at = summary.ended_at
        case _:
            at = summary.when
    return (
        summary.state in wanted.states
        and wanted.function in (None, summary.function)
        and summary.key.startswith(wanted.key_prefix or "")
        and wanted.worker in (None, summary.worker)
        and (wanted.error is None or wanted.error in (summary.error or ""))
        and (wanted.since is None or (at is not None and at >= wanted.since))
        and (wanted.until is None or (at is not None and at < wanted.until))
    )


async def test_what_a_filter_means_is_found_whatever_it_says(docket: Docket) -> None:
    async with Worker(docket, name="one") as worker:
        for number, order in enumerate(["good", "bad", "worse"] * 4):
            await docket.add(send, key=f"order-{number}")(order)
        await docket.add(send, key="order-\u00e9")("good")
        await soon(worker.run_until_finished())
        middle = datetime.now(UTC)
        for number in range(3):
            await docket.add(stay, key=f"stay-{number}")()
        for number in range(20, 30):
            await docket.add(send, in_hours(number), key=f"order-{number}")("good")
        await docket.cancel("order-20")
        async with at_work(worker):
            await until(lambda: worker.counters.started > 0)
            while (await docket.backlog()).waiting < 2:
                pass
            await docket.pause()
            await docket.add(send, key="order-ready")("good")

            every = await every_page(docket, Filter.of())
            for wanted in filters(middle):
                meant = [each for each in every if is_meant(wanted, each)]
                assert await every_page(docket, wanted) == meant, wanted
                assert await every_page(docket, wanted, seconds=0.0) == meant, wanted
                assert await every_page(docket, wanted, most_looked_at=2) == meant, wanted
                count = await docket.count_matching(wanted)
                assert (count.number, count.is_complete) == (len(meant), True), wanted

    assert {each.state for each in every} == set(ListedState)


async def reads(docket: Docket, command: str) -> int:
    client: Any = docket.connections.client()
    found = await client.info("commandstats")
    return found.get(f"cmdstat_{command}", {"calls": 0})["calls"]


async def test_a_key_that_does_not_match_costs_no_read_of_its_record(docket: Docket) -> None:
    await docket.add_many(
        [docket.call(send, in_hours(1), key=f"k{number:04}")("good") for number in range(2_000)]
    )
    before = await reads(docket, "hmget")

    page = await docket.executions_matching(Filter.of("scheduled", key_prefix="k1999"))

    assert [each.key for each in page.executions] == ["k1999"]
    assert await reads(docket, "hmget") - before < 10


async def test_only_those_that_are_shown_are_read_as_a_whole(docket: Docket) -> None:
    await docket.add_many(
        [docket.call(send, in_hours(1), key=f"k{number:04}")("good") for number in range(500)]
    )
    before = await reads(docket, "hstrlen")

    page = await docket.executions_matching(Filter.of("scheduled", function="send"), 10)

    assert len(page.executions) == 10
    assert await reads(docket, "hstrlen") - before <= 25


async def test_a_page_ends_when_its_time_is_over_but_has_looked_at_some(docket: Docket) -> None:
    await docket.add_many(
        [docket.call(send, in_hours(1), key=f"k{number:04}")("good") for number in range(1_500)]
    )
    wanted = Filter.of("scheduled", function="nothing")

    page = await docket.executions_matching(wanted, seconds=0.0)
    assert page.executions == ()
    assert LEAST_LOOKED_AT <= page.looked_at < 1_500
    assert page.cursor is not None
    rest = await docket.executions_matching(wanted, cursor=page.cursor, seconds=0.0)
    assert (rest.looked_at, rest.cursor) == (1_500 - page.looked_at, None)


async def test_a_count_says_whether_it_is_complete(docket: Docket) -> None:
    await docket.add_many(
        [docket.call(send, in_hours(1), key=f"k{number:04}")("good") for number in range(1_500)]
    )
    wanted = Filter.of("scheduled", function="send")

    assert await docket.count_matching(wanted) == MatchCount(1_500, 1_500, is_complete=True)
    some = await docket.count_matching(wanted, most_looked_at=300)
    assert some == MatchCount(300, 300, is_complete=False)
    late = await docket.count_matching(wanted, seconds=0.0)
    assert 1_500 > late.number == late.looked_at >= LEAST_LOOKED_AT
    assert not late.is_complete


async def test_a_place_is_found_again_among_many_of_one_time(docket: Docket) -> None:
    at = in_hours(1)
    keys = [f"k{number:03}" for number in range(300)]
    await docket.add_many([docket.call(send, at, key=key)("good") for key in keys])
    for gone in (None, "k007", "k150", "k298"):
        if gone is not None:
            await docket.cancel(gone)
            keys.remove(gone)
        found: list[str] = []
        cursor = None
        while True:
            page = await docket.executions("scheduled", limit=7, cursor=cursor)
            found += [each.key for each in page.executions]
            cursor = page.cursor
            if cursor is None:
                break
        assert found == keys
