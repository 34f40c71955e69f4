"""A perpetual chain survives a crash at any point: it neither ends nor runs twice at once."""

from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest

from docket import Docket, Perpetual, Worker
from docket.clock import EPOCH
from docket.lifecycle import Due, DueOrigin
from docket.store import scripts
from tests.support.dockets import Gate, at_work, found, soon
from tests.support.proxy import Do, calls, proxy_to
from tests.support.store import Store, outcome, store_at, until

pytestmark = pytest.mark.anyio

#: An hour in microseconds.
LONG = 3_600_000_000


@pytest.fixture
async def store(server: str, docket_name: str) -> AsyncGenerator[Store]:
    async with store_at(server, docket_name) as store:
        await store.register("a", "b")
        yield store


@pytest.mark.parametrize("lost", [Do.LOSE_REPLY, Do.LOSE_CALL], ids=["reply", "call"])
async def test_a_lost_exchange_with_the_end_of_a_run_leaves_one_successor(
    server: str, docket_name: str, lost: Do
) -> None:
    gate, runs = Gate(), list[int]()

    async def task(n: int, perpetual: Perpetual = Perpetual()) -> None:
        runs.append(n)
        perpetual.perpetuate(n + 1)
        if n == 2:
            await gate.pass_through()
        if n == 5:
            perpetual.cancel()

    async with (
        proxy_to(server) as proxy,
        Docket(docket_name, proxy.url) as docket,
        at_work(Worker(docket)) as worker,
    ):
        await docket.add(task, key="k")(1)
        await soon(gate.reached.wait())
        interception = proxy.intercept(calls(scripts.EXCHANGE, having=b"P"), lost)
        gate.opened.set()
        await soon(interception.happened.wait())
        await until(lambda: len(runs) >= 5, "the rest of the chain")
    assert runs == [1, 2, 3, 4, 5]
    assert worker.counters.perpetuated == 4
    assert worker.counters.superseded == 0


async def test_a_run_whose_worker_dies_is_adopted_and_the_chain_goes_on(store: Store) -> None:
    await store.add("k")
    await store.claim("a")

    assert await store.adopt("a") == (1, [])
    claim = await store.claim("b")
    await store.exchange("b", [outcome("P", claim, "n0")])

    record = await store.record("k")
    assert record["state"] == "queued"
    assert record["generation"] == "2"
    assert record.keys().isdisjoint({"deaths", "suspect_for"})
    assert (await store.state()).faults() == []


async def test_an_end_that_comes_after_the_adoption_makes_no_second_successor(
    store: Store,
) -> None:
    await store.add("k")
    claim = await store.claim("a")
    await store.adopt("a")
    await store.register("late")

    reply = await store.exchange("late", [outcome("P", claim, "n0")])

    assert reply.superseded == [0]
    record = await store.record("k")
    assert (record["state"], record["generation"]) == ("queued", "1")
    assert (await store.state()).faults() == []


async def test_an_end_that_is_sent_twice_makes_one_successor(store: Store) -> None:
    await store.add("k")
    claim = await store.claim("a")

    first = await store.exchange("a", [outcome("P", claim, "n0")])
    state = await store.state()
    second = await store.exchange("a", [outcome("P", claim, "n0")])

    assert (first.superseded, second.superseded) == ([], [0])
    assert await store.state() == state
    assert len(state.where("k")) == 1


async def test_a_claim_that_a_failover_rolled_back_still_has_its_successor(store: Store) -> None:
    await store.add("k")
    claim = await store.claim("a")
    await store.client.hset(store.keys.record("k"), "state", "queued")
    await store.client.hdel(store.keys.record("k"), "worker", "started_at")

    before = await store.now()
    await store.exchange("a", [outcome("P", claim, f"s{LONG}")])

    record = await store.record("k")
    assert record["state"] == "scheduled"
    # There is no start to count from any more: from now.
    assert int(record["when"]) >= 1000 * before + LONG
    assert (await store.state()).faults() == []


@pytest.mark.parametrize(("due", "state"), [("n0", "queued"), (f"s{LONG}", "scheduled")])
async def test_no_key_without_its_place_at_any_step_of_the_chain(
    store: Store, due: str, state: str
) -> None:
    await store.add("k", call=b"first")
    claim = await store.claim("a")
    assert (await store.state()).faults() == []

    await store.exchange("a", [outcome("P", claim, due, "", b"second")])

    whole = await store.state()
    assert whole.faults() == []
    assert whole.records["k"]["state"] == state
    assert whole.records["k"]["call"] == "second"
    assert await store.client.pttl(store.keys.record("k")) == -1


async def test_a_successor_starts_without_the_deaths_of_its_predecessor(store: Store) -> None:
    await store.add("k")
    await store.claim("a")
    await store.adopt("a")
    claim = await store.claim("b")
    assert claim.deaths == 1

    await store.exchange("b", [outcome("P", claim, "n0")])

    # In the common stream: a quarantined task would not be there.
    assert [entry[0] for entry in (await store.state()).where("k")] == ["s"]
    assert (await store.claim("b")).deaths == 0


async def test_an_add_whose_reply_was_lost_learns_its_disposition_from_the_successor(
    store: Store,
) -> None:
    await store.add("k", token="sent")
    claim = await store.claim("a")
    await store.exchange("a", [outcome("P", claim, "n0")])

    again = await store.add("k", token="sent")

    assert again.disposition == "scheduled"
    assert len((await store.state()).where("k")) == 1


def test_delays_are_whole_microseconds_and_never_negative() -> None:
    assert Due.since_start(0.1501) == Due(DueOrigin.START, 150_100)
    assert Due.from_now(-3) == Due(DueOrigin.NOW, 0)
    assert Due.at(EPOCH + timedelta(microseconds=17)) == Due(DueOrigin.EPOCH, 17)


async def test_a_worker_that_ends_hands_the_run_back_with_its_chain(
    server: str, docket_name: str
) -> None:
    gate = Gate()

    async def task(perpetual: Perpetual = Perpetual(every=timedelta(hours=1))) -> None:
        await gate.pass_through()

    async with Docket(docket_name, server) as docket:
        await docket.add(task, key="k")()
        async with at_work(Worker(docket)):
            await soon(gate.reached.wait())
        gate.opened.set()
        async with at_work(Worker(docket)) as second:
            await until(lambda: second.counters.perpetuated == 1, "its successor")
        assert (await found(docket, "k")).generation == 2
