"""Scheduling: what an add keeps, what a replace takes the place of, what a token remembers."""

import asyncio
from datetime import timedelta
from typing import Any, Literal

import pytest

from docket.errors import ServerUnavailable
from docket.store import scripts
from docket.store.connection import retrying
from docket.store.connection.pipeline import LostReply
from docket.store.retention import Retention
from tests.support.proxy import Do, calls, proxy_to
from tests.support.store import Store, outcome, store_at

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("state", ["scheduled", "queued", "running"])
async def test_an_add_keeps_what_is_there(store: Store, state: str) -> None:
    await store.register("a")
    await store.add(delay_seconds=60 if state == "scheduled" else None, call=b"first")
    if state == "running":
        await store.claim()
    before = await store.state()

    added = await store.add(call=b"second")

    assert (added.disposition, added.state, added.generation) == ("already", state, 1)
    assert await store.state() == before


@pytest.mark.parametrize("state", ["scheduled", "queued", "running"])
@pytest.mark.parametrize("delay_seconds", [None, 60.0], ids=["now", "later"])
async def test_a_replace_takes_the_place_of_what_waits_and_goes_beside_what_runs(
    store: Store, state: str, delay_seconds: float | None
) -> None:
    await store.register("a")
    await store.add(delay_seconds=30 if state == "scheduled" else None, call=b"first")
    if state == "running":
        await store.claim()

    replaced = await store.add(call=b"second", replace=1, delay_seconds=delay_seconds)

    after = await store.state()
    assert (replaced.disposition, replaced.generation) == ("scheduled", 2)
    assert after.records["k"]["call"] == "second"
    assert "worker" not in after.records["k"]
    assert len(after.pending) == (1 if state == "running" else 0)
    assert len(after.where("k")) == len(after.pending) + (delay_seconds is None)
    assert list(after.queue) == ([] if delay_seconds is None else ["k"])
    assert after.faults() == []


async def test_a_replace_of_an_ended_execution_starts_a_record_without_its_result_and_ttl(
    store: Store,
) -> None:
    await store.register("a")
    await store.add()
    await store.exchange(outcomes=[outcome("F", await store.claim(), b"error", "text")])

    await store.add(replace=1, delay_seconds=60)

    record = await store.record()
    assert record["generation"] == "2"
    assert not {"result", "error", "completed_at", "started_at"} & set(record)
    assert await store.client.pttl(store.keys.record("k")) == -1


@pytest.mark.parametrize("replace", [0, 1])
async def test_a_request_sent_again_gets_its_first_disposition_even_after_its_task_ran(
    store: Store, replace: Literal[0, 1]
) -> None:
    await store.register("a")
    first = await store.add(token="t", replace=replace)
    again = await store.add(token="t", replace=replace)
    assert again == first
    await store.exchange(outcomes=[outcome("C", await store.claim(), b"r")])
    before = await store.state()

    late = await store.add(token="t", replace=replace)

    assert (late.disposition, late.generation, late.state) == ("scheduled", 1, "completed")
    assert await store.state() == before


async def test_a_newer_generation_than_expected_supersedes_the_request(store: Store) -> None:
    await store.add(delay_seconds=60)
    await store.add(delay_seconds=60, replace=1)
    before = await store.state()

    late = await store.add(replace=1, expected=1)

    assert (late.disposition, late.generation, late.state) == ("superseded", 2, "scheduled")
    assert await store.state() == before
    assert (await store.add(replace=1, expected=2)).generation == 3


async def test_a_key_that_holds_something_else_fails_its_own_request_only(store: Store) -> None:
    await store.client.set(store.keys.record("strange"), "not a hash", px=60_000)

    strange, sound = await asyncio.gather(store.add("strange"), store.add("sound"))

    assert strange.disposition == "error"
    assert "WRONGTYPE" in strange.state
    assert sound.disposition == "scheduled"
    await store.client.delete(store.keys.record("strange"))


async def test_the_same_key_twice_in_one_call_is_scheduled_once(store: Store) -> None:
    await store.add("before")
    trips = store.connections.pipeline.round_trips
    first, second = await asyncio.gather(store.add(call=b"1"), store.add(call=b"2"))

    assert (first.disposition, second.disposition) == ("scheduled", "already")
    assert store.connections.pipeline.round_trips == trips + 1
    assert (await store.record())["call"] == "1"


async def test_a_thousand_adds_at_once_cost_ten_round_trips_at_most(store: Store) -> None:
    await store.add("before")
    trips = store.connections.pipeline.round_trips

    await asyncio.gather(*[store.add(f"k{n}") for n in range(1000)])

    assert store.connections.pipeline.round_trips - trips <= 10
    assert len((await store.state()).places) == 1001


async def test_large_payloads_leave_in_several_calls(store: Store) -> None:
    await store.add("before")
    trips = store.connections.pipeline.round_trips
    big = bytes(3 << 20)
    await asyncio.gather(*[store.add(f"k{n}", call=big) for n in range(4)])
    assert store.connections.pipeline.round_trips - trips == 2


@pytest.mark.parametrize("key", ["\udc80", 5], ids=["a lone surrogate", "not a string"])
async def test_a_key_that_cannot_be_written_fails_its_own_add_and_no_other(
    store: Store, key: str
) -> None:
    bad, good = await asyncio.gather(store.add(key), store.add("good"), return_exceptions=True)
    assert isinstance(bad, (ValueError, TypeError))
    assert not isinstance(good, BaseException)
    assert good.disposition == "scheduled"


async def test_a_lost_reply_to_an_add_neither_loses_nor_repeats_the_task(
    server: str, docket_name: str
) -> None:
    async with proxy_to(server) as proxy, store_at(proxy.url, docket_name) as store:
        await store.add("warm")
        lost = proxy.intercept(calls(scripts.SCHEDULE), Do.LOSE_REPLY)

        added = await store.add("k")

        assert lost.happened.is_set()
        assert (added.disposition, added.generation) == ("scheduled", 1)
        assert len((await store.state()).where("k")) == 1


@pytest.mark.parametrize("ttl", [timedelta(0), timedelta(seconds=1)], ids=["no record", "brief"])
async def test_an_add_whose_reply_was_lost_raises_if_no_record_will_tell_of_it(
    server: str, docket_name: str, ttl: timedelta
) -> None:
    # Sent again after the task has run and left nothing, it would run a second time.
    async with proxy_to(server) as proxy, store_at(proxy.url, docket_name, Retention(ttl)) as store:
        await store.add("warm")
        proxy.intercept(calls(scripts.SCHEDULE), Do.LOSE_REPLY)
        with pytest.raises(LostReply):
            await store.add("k")


async def test_an_add_that_never_reached_the_server_is_sent_again(
    server: str, docket_name: str
) -> None:
    async with proxy_to(server) as proxy, store_at(proxy.url, docket_name) as store:
        await store.add("warm")
        proxy.intercept(calls(scripts.SCHEDULE), Do.LOSE_CALL)
        assert (await store.add("k")).disposition == "scheduled"


async def test_an_add_made_while_the_server_is_away_arrives_when_it_is_back(
    server: str, docket_name: str
) -> None:
    async with proxy_to(server) as proxy, store_at(proxy.url, docket_name) as store:
        await store.add("warm")
        await proxy.refuse()
        adding = asyncio.create_task(store.add("k"))
        await proxy.open()
        assert (await adding).disposition == "scheduled"


async def test_an_add_survives_the_loss_of_the_servers_scripts(store: Store) -> None:
    await store.add("first")
    await store.client.script_flush()
    assert (await store.add("second")).disposition == "scheduled"


async def test_an_execution_ttl_of_zero_leaves_no_key(server: str, docket_name: str) -> None:
    async with store_at(server, docket_name, Retention(timedelta(0))) as store:
        await store.register("a")
        for kind in "CFX":
            await store.add(kind)
            claim = await store.claim()
            await store.exchange(outcomes=[outcome(kind, claim, b"r", "text")])
        await store.add("cancelled")
        await store.transitions.cancel("cancelled")

        after = await store.state()
        assert after.records == {}
        assert after.places == after.pending == after.queue == {}


@pytest.mark.statement(22)
@pytest.mark.parametrize("microseconds", [0, 1, 499, 999, 1001, 999_999])
async def test_the_queue_holds_the_microsecond_at_which_a_task_is_due(
    store: Store, microseconds: int
) -> None:
    when = 1_000_000 * (await store.now() // 1000 + 60) + microseconds
    await store.add("k", when=when)

    assert (await store.state()).queue == {"k": when / 1000}
    assert (await store.state()).faults() == []


@pytest.mark.statement(22)
async def test_nothing_becomes_ready_before_its_microsecond_nor_is_waited_for_longer(
    store: Store,
) -> None:
    for n in range(20):
        when = await microseconds_now(store) + 3000 + n
        await store.add(f"{n}", when=when)
        promoted = 0
        while not promoted:
            before = await microseconds_now(store)
            promoted, pause_seconds = await store.transitions.promote()
            assert promoted or (
                pause_seconds is not None and before + pause_seconds * 1_000_000 <= when
            )
        assert await microseconds_now(store) >= when


async def microseconds_now(store: Store) -> int:
    """The time of the server."""
    seconds, microseconds = await store.client.time()
    return seconds * 1_000_000 + microseconds


async def test_an_earlier_task_wakes_the_steward_and_a_later_one_does_not(store: Store) -> None:
    woken: list[bytes | None] = []
    async with store.connections.subscriber.listening(store.keys.wake_channel, woken.append):
        await store.add("early", delay_seconds=50)
        await store.add("late", delay_seconds=100)
        await store.add("earliest", delay_seconds=10)
        async with store.connections.subscriber.listening("fence", woken.append):
            pass
        # What is due is due in milliseconds.
        dues = [(await store.record(key))["when"][:-3].encode() for key in ("early", "earliest")]
        assert woken == dues


async def test_a_value_that_cannot_be_sent_is_told_to_who_waits(store: Store) -> None:
    await store.add("before")
    unsendable: Any = object()
    with pytest.raises((TypeError, ValueError)):
        await store.add("k", token=unsendable)


async def test_a_refused_call_is_told_to_everybody_in_it(server: str, docket_name: str) -> None:
    async with proxy_to(server) as proxy, store_at(proxy.url, docket_name) as store:
        await store.add("before")
        proxy.intercept(calls(scripts.SCHEDULE), Do.ANSWER, error="NOPERM no permission")
        refused = await asyncio.gather(store.add("1"), store.add("2"), return_exceptions=True)
        assert all("permission" in str(error) for error in refused)


async def test_a_server_that_stays_away_ends_the_patience_of_an_add(
    server: str, docket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "PATIENCE_SECONDS", 0.1)
    async with proxy_to(server) as proxy, store_at(proxy.url, docket_name) as store:
        await store.add("before")
        proxy.intercept(calls(scripts.SCHEDULE), Do.ANSWER, times=1000, error="LOADING loading")
        with pytest.raises(ServerUnavailable, match="loading"):
            await store.add("k")


async def test_requests_of_different_terms_keep_their_own_in_one_call(store: Store) -> None:
    await store.add("taken", delay_seconds=60)

    replies = await asyncio.gather(
        store.add("plain"),
        store.add("other", function="g"),
        store.add("taken", replace=1),
        store.add("plain again", call=b"else"),
        store.add("later", when=4_000_000_000_000_000),
        store.add("past", when=1),
        store.add("taken"),
    )

    assert [(reply.disposition, reply.generation, reply.state) for reply in replies] == [
        ("scheduled", 1, "queued"),
        ("scheduled", 1, "queued"),
        ("scheduled", 2, "queued"),
        ("scheduled", 1, "queued"),
        ("scheduled", 1, "scheduled"),
        ("scheduled", 1, "queued"),
        ("already", 2, "queued"),
    ]
    records = {key: await store.record(key) for key in ("plain", "other", "plain again", "past")}
    assert [record["function"] for record in records.values()] == ["f", "g", "f", "f"]
    assert [record["call"] for record in records.values()] == ["call", "call", "else", "call"]
    assert records["past"]["when"] == "1"
    assert (await store.state()).faults() == []


async def test_a_new_key_that_comes_twice_in_one_call_is_taken_the_second_time(
    store: Store,
) -> None:
    first, other, second, third = await asyncio.gather(
        store.add("k", call=b"first"),
        store.add("other"),
        store.add("k", call=b"second"),
        store.add("k", call=b"third", replace=1),
    )

    assert (first.disposition, second.disposition) == ("scheduled", "already")
    assert (other.generation, third.disposition, third.generation) == (1, "scheduled", 2)
    assert (await store.record("k"))["call"] == "third"
    assert (await store.state()).faults() == []
