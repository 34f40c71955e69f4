"""Reclaiming: after a lost reply, a consumer takes the entries of its own that it does not run."""

import asyncio

import pytest

from tests.support.store import Store

pytestmark = pytest.mark.anyio


async def test_what_was_claimed_and_never_heard_of_is_taken_back_as_it_was(store: Store) -> None:
    await store.register("a", "b")
    await asyncio.gather(store.add("heard"), store.add("lost"), store.add("other"))
    heard, lost = (await store.exchange("a", want=2)).claims
    await store.claim("b")
    before = await store.state()

    claims = await store.transitions.reclaim("a", 1, [heard.entry])

    assert [(c.key, c.entry, c.generation, c.call) for c in claims] == [
        (lost.key, lost.entry, lost.generation, lost.call)
    ]
    after = await store.state()
    assert after.places == before.places
    assert after.pending == before.pending
    assert after.faults() == []


async def test_what_is_taken_back_has_a_lease_of_its_full_length(store: Store) -> None:
    await store.register("a")
    await store.add()
    claim = await store.claim()
    place = (store.keys.stream, "workers")
    await store.client.xclaim(*place, "a", 0, [claim.entry[1:]], idle=3_500, justid=True)

    assert len(await store.transitions.reclaim("a", 1, [])) == 1

    (pending,) = await store.client.xpending_range(*place, "-", "+", 9)
    assert pending["time_since_delivered"] < 3_500


async def test_what_was_replaced_meanwhile_is_not_taken_back(store: Store) -> None:
    await store.register("a")
    await store.add()
    await store.claim()
    await store.add(replace=1, delay_seconds=60)
    assert await store.transitions.reclaim("a", 1, []) == []
    after = await store.state()
    assert after.pending == after.places == {}
    assert after.records["k"]["state"] == "scheduled"


async def test_an_entry_that_was_deleted_meanwhile_is_forgotten(store: Store) -> None:
    await store.register("a")
    await store.add()
    claim = await store.claim()
    await store.client.xdel(store.keys.stream, claim.entry[1:])
    assert await store.transitions.reclaim("a", 1, []) == []
    assert (await store.state()).pending == {}


async def test_more_than_256_are_taken_back_in_several_calls(store: Store) -> None:
    await store.register("a")
    await asyncio.gather(*[store.add(f"k{n}") for n in range(600)])
    while (await store.exchange("a", want=256)).claims:
        pass
    claims = await store.transitions.reclaim("a", 1, [])
    assert len({claim.entry for claim in claims}) == len(claims) == 600


async def test_large_payloads_are_taken_back_in_several_calls(store: Store) -> None:
    await store.register("a")
    for n in range(12):
        await store.add(f"k{n}", call=bytes(1 << 20))
    while (await store.exchange("a", want=4)).claims:  # as many as one call brings
        pass
    trips = store.connections.pipeline.round_trips
    claims = await store.transitions.reclaim("a", 1, [])
    assert len({claim.entry for claim in claims}) == len(claims) == 12
    assert store.connections.pipeline.round_trips - trips >= 5


async def test_without_a_group_there_is_nothing_to_take_back(store: Store) -> None:
    await store.register("a")
    await store.add()
    await store.claim()
    await store.client.delete(store.keys.stream, store.keys.redelivery, store.keys.quarantine)
    assert await store.transitions.reclaim("a", 1, []) == []
