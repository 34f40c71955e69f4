"""Adoption: what a dead consumer ran goes to others; who is blamed; what is poison."""

import asyncio
import math

import pytest

from docket.store.transitions import Fenced
from tests.support.store import Store, outcome

pytestmark = pytest.mark.anyio


async def run_of(store: Store, consumer: str, *keys: str) -> None:
    await store.register(consumer)
    await asyncio.gather(*[store.add(key) for key in keys])
    await store.exchange(consumer, want=len(keys))


async def test_a_dead_consumers_runs_go_to_the_front_and_nothing_is_left_of_it(
    store: Store,
) -> None:
    await run_of(store, "a", "1", "2")
    assert await store.adopt("a", "nobody") == (2, [])

    after = await store.state()
    assert {entry[0] for entry in after.places} == {"f"}
    assert [r["from"] for r in after.records.values()] == ["a", "a"]
    assert after.pending == {}
    assert after.workers == frozenset()
    assert after.epochs == {}
    assert (await store.transitions.consumers()).pending == {}
    assert not await store.client.exists(store.keys.worker_tasks("a"))
    assert not await store.client.exists(store.keys.task_workers("f"))
    assert after.faults() == []
    with pytest.raises(Fenced):
        await store.exchange("a", want=1)


async def test_adopting_twice_does_no_more_than_once(store: Store) -> None:
    await run_of(store, "a", "1")
    await store.adopt("a")
    before = await store.state()
    assert await store.adopt("a") == (0, [])
    assert await store.state() == before


async def test_hundreds_of_runs_are_adopted_in_several_calls(store: Store) -> None:
    keys = [f"k{n}" for n in range(700)]
    await store.register("a")
    await asyncio.gather(*[store.add(key) for key in keys])
    while (await store.exchange("a", want=256)).claims:
        pass
    await store.adopt("nobody")  # Loads the script.
    trips = store.connections.pipeline.round_trips

    assert await store.adopt("a", "nobody") == (700, [])

    assert store.connections.pipeline.round_trips - trips == 11
    after = await store.state()
    assert len(after.places) == 700
    assert after.faults() == []


async def test_exactly_as_many_runs_as_calls_move_need_one_more_that_finds_none_left(
    store: Store,
) -> None:
    await run_of(store, "a", *[f"k{n}" for n in range(256)])
    assert await store.adopt("a", "nobody") == (256, [])
    assert (await store.transitions.consumers()).pending == {}


@pytest.mark.parametrize(
    ("blame", "deaths"),
    [
        ("everyone", {"1": "1", "2": "1"}),
        ("nobody", {"1": "0", "2": "0"}),
        ("key:1", {"1": "1", "2": "0"}),
        ("key:other", {"1": "0", "2": "0"}),
    ],
)
async def test_deaths_count_for_whoever_is_blamed(
    store: Store, blame: str, deaths: dict[str, str]
) -> None:
    await run_of(store, "a", "1", "2")
    await store.adopt("a", blame)
    after = await store.state()
    assert {key: record["deaths"] for key, record in after.records.items()} == deaths
    letters = {key: after.where(key)[0][0] for key in deaths}
    assert letters == {key: "x" if deaths[key] == "1" else "f" for key in deaths}


@pytest.mark.parametrize(
    ("functions", "blame", "blamed"),
    [
        ({"1": "sum", "2": "hang"}, "functions:match hang", "2"),
        ({"1": "hang", "2": "hang"}, "functions:hang", None),
        ({"1": "sum", "2": "hang"}, "functions:sum hang", None),
        ({"1": "sum", "2": "hang"}, "functions:other", None),
        ({"1": "sum", "2": "hang"}, "functions:", None),
        ({"1": "hang"}, "functions:other", "1"),
        ({"1": "hang"}, "functions:", "1"),
        ({}, "functions:hang", None),
    ],
)
async def test_by_its_function_only_the_one_that_it_must_have_been_is_blamed(
    store: Store, functions: dict[str, str], blame: str, blamed: str | None
) -> None:
    await store.register("a")
    for key, function in functions.items():
        await store.add(key, function=function)
    await store.exchange("a", want=10)
    assert await store.adopt("a", blame) == (len(functions), [])
    records = (await store.state()).records
    assert {key: record["deaths"] for key, record in records.items()} == {
        key: "1" if key == blamed else "0" for key in functions
    }


async def test_of_more_runs_than_one_call_sees_none_is_blamed_by_its_function(store: Store) -> None:
    await run_of(store, "a", *[f"k{n}" for n in range(257)])
    assert await store.adopt("a", "functions:f") == (257, [])
    assert {record["deaths"] for record in (await store.state()).records.values()} == {"0"}


async def test_a_task_is_poison_at_its_third_death_and_an_innocent_is_not(store: Store) -> None:
    await store.add("poison")
    for n, expected in enumerate([(1, []), (1, []), (0, ["poison"])]):
        await store.register(f"w{n}")
        await store.claim(f"w{n}")
        assert await store.adopt(f"w{n}", "everyone") == expected

    after = await store.state()
    assert after.records["poison"]["state"] == "failed"
    assert after.records["poison"]["deaths"] == "3"
    assert after.records["poison"]["error"] == "PoisonTask: too many"
    assert after.records["poison"]["result"] == "poison"
    assert after.places == {}
    assert await store.client.pttl(store.keys.record("poison")) > 0


async def set_back(store: Store, key: str, seconds: int) -> None:
    """Its run has lasted so much longer."""
    started = int((await store.record(key))["started_at"])
    await store.client.hset(store.keys.record(key), "started_at", started - seconds * 1_000_000)


async def test_a_run_is_suspect_for_as_long_as_the_one_lasted_that_died_and_somewhat_longer(
    store: Store,
) -> None:
    await run_of(store, "a", "short", "long")
    await set_back(store, "long", 400)
    await store.adopt("a")
    await store.register("b", "c")
    claims = [await store.claim(consumer) for consumer in ("b", "c")]
    seconds = {claim.key: claim.suspect_seconds for claim in claims}
    assert 2 <= seconds[b"short"] < 12
    assert 502 <= seconds[b"long"] < 512


async def test_a_run_that_began_in_the_future_of_the_servers_clock_is_suspect_for_a_moment(
    store: Store,
) -> None:
    await run_of(store, "a", "k")
    await set_back(store, "k", -400)
    await store.adopt("a")
    await store.register("b")
    assert (await store.claim("b")).suspect_seconds == 2


@pytest.mark.parametrize("noted", [None, "", "soon", "-1", "9" * 20])
async def test_a_quarantined_task_is_suspect_to_its_end_if_nobody_has_noted_for_how_long(
    store: Store, noted: str | None
) -> None:
    """A worker of an older version adopted it, or somebody else has written its record."""
    await run_of(store, "a", "k")
    await store.adopt("a")
    await store.client.hdel(store.keys.record("k"), "suspect_for")
    if noted is not None:
        await store.client.hset(store.keys.record("k"), "suspect_for", noted)
    await store.register("b")
    claim = await store.claim("b")
    assert (claim.deaths, claim.suspect_seconds, claim.fault) == (1, math.inf, None)


async def test_who_is_not_blamed_is_suspect_for_no_longer_than_before(store: Store) -> None:
    await run_of(store, "a", "k")
    await store.adopt("a")
    before = (await store.record())["suspect_for"]
    await store.register("b")
    await store.claim("b")
    await set_back(store, "k", 400)
    await store.adopt("b", "nobody")
    assert (await store.record())["suspect_for"] == before


async def quarantined_at(store: Store, consumer: str, *keys: str) -> None:
    """These run there, claimed in this order, with a death each: all but the last outlived it."""
    await run_of(store, "dead", *keys)
    await store.adopt("dead")
    await store.register(consumer)
    for key in keys:
        assert (await store.claim(consumer)).key == key.encode()


async def test_of_several_quarantined_tasks_only_the_last_is_blamed_with_what_was_not_quarantined(
    store: Store,
) -> None:
    await quarantined_at(store, "a", "1", "2", "3")
    await store.add("fresh")
    await store.claim("a")
    await set_back(store, "1", 400)
    await store.adopt("a")
    records = (await store.state()).records
    assert {key: record["deaths"] for key, record in records.items()} == {
        "1": "1",
        "2": "1",
        "3": "2",
        "fresh": "1",
    }
    # A process died under it once more, and it went on for longer: what it was seen to outlive is
    # not enough.
    assert int(records["1"]["suspect_for"]) >= 502_000


async def test_a_quarantined_task_that_a_stall_is_blamed_on_counts_it_although_it_outlived_the_last(
    store: Store,
) -> None:
    await quarantined_at(store, "a", "1", "2")
    await store.adopt("a", "key:1")
    records = (await store.state()).records
    assert {key: record["deaths"] for key, record in records.items()} == {"1": "2", "2": "1"}


async def test_of_more_quarantined_tasks_than_one_call_moves_only_the_last_is_blamed(
    store: Store,
) -> None:
    keys = [f"k{n}" for n in range(130)]
    await quarantined_at(store, "a", *keys)
    assert await store.adopt("a") == (130, [])
    records = (await store.state()).records
    assert [key for key in keys if records[key]["deaths"] == "2"] == keys[-1:]


async def test_what_is_handed_back_after_it_outlived_the_run_that_died_waits_with_all_others(
    store: Store,
) -> None:
    await quarantined_at(store, "a", "1")
    await store.register("b", "c")
    await store.adopt("a", "nobody")
    await store.exchange("b", [outcome("H", await store.claim("b"), "1")])
    assert (await store.state()).where("1")[0][0] == "f"
    claim = await store.claim("c", may_take_quarantined=False)
    assert (claim.key, claim.deaths, claim.suspect_seconds) == (b"1", 1, 0)


async def test_a_new_execution_of_a_poisoned_key_starts_without_deaths(store: Store) -> None:
    await run_of(store, "a", "k")
    await store.adopt("a", "everyone", max_deliveries=1)
    await store.add("k")
    await store.register("b")
    assert (await store.claim("b")).deaths == 0


@pytest.mark.parametrize("kind", ["A", "H"], ids=["retry", "hand-back"])
async def test_a_quarantined_task_stays_one_through_retry_and_requeue(
    store: Store, kind: str
) -> None:
    await run_of(store, "a", "k")
    await store.adopt("a", "everyone")
    await store.register("b")
    await store.exchange("b", [outcome(kind, await store.claim("b"), 0, 2)])
    after = await store.state()
    assert after.records["k"]["deaths"] == "1"
    assert after.where("k")[0][0] == "x"


async def test_a_quarantined_task_stays_one_through_a_retry_that_waits(store: Store) -> None:
    await run_of(store, "a", "k")
    await store.adopt("a", "everyone")
    await store.register("b")
    await store.exchange("b", [outcome("A", await store.claim("b"), 60_000_000, 2)])
    await store.rewind_queue()
    await store.transitions.promote()
    assert (await store.state()).where("k")[0][0] == "x"


async def test_a_sweep_blames_nobody(store: Store) -> None:
    await run_of(store, "a", "k")
    await store.sweep_now()
    assert (await store.record())["deaths"] == "0"


async def test_an_entry_that_was_deleted_while_it_was_pending_is_forgotten(store: Store) -> None:
    await run_of(store, "a", "k")
    record = await store.record()
    await store.client.xdel(store.keys.stream, record["entry"][1:])
    assert await store.adopt("a") == (0, [])
    assert (await store.state()).pending == {}


async def test_a_claim_that_a_failover_rolled_back_moves_and_counts_no_death(store: Store) -> None:
    await run_of(store, "a", "k")
    await store.client.hset(store.keys.record("k"), "state", "queued")
    assert await store.adopt("a", "everyone") == (1, [])
    assert (await store.record())["deaths"] == "0"


async def test_an_adoption_with_no_group_at_all_strikes_off_and_moves_nothing(
    store: Store,
) -> None:
    await run_of(store, "a", "k")
    await store.client.delete(store.keys.stream, store.keys.redelivery, store.keys.quarantine)
    assert await store.adopt("a") == (0, [])
    assert (await store.state()).workers == frozenset()


async def test_the_adoption_of_who_ran_nothing_rings_since_it_may_have_died_with_the_token(
    store: Store,
) -> None:
    await store.register("a", "b")
    await store.add("k")
    await store.client.delete(store.keys.wakeup)  # Taken by a, which was killed before it looked.

    assert await store.adopt("a") == (0, [])

    assert (await store.state()).token
