"""What the sweep of slots and waiters mends, and what mends itself."""

import pytest

from tests.support.limits import LimitedStore, slots
from tests.support.store import outcome

pytestmark = pytest.mark.anyio

ONE = slots("one")


async def test_slots_whose_entry_is_gone_are_found_and_freed(limited: LimitedStore) -> None:
    store = limited.store
    holder, _ = await limited.started("k1", ONE)
    await limited.started("k2", ONE)
    # Somebody's hand: no script of ours deletes an entry and keeps its slots.
    await store.client.xdel(store.keys.stream, holder.entry[1:])

    assert await store.transitions.limits.sweep() > 0

    assert (await limited.held()).holders == {"one": ["k2"]}
    assert await store.transitions.limits.sweep() == 0


async def test_a_line_that_was_lost_is_mended(limited: LimitedStore) -> None:
    store = limited.store
    holder, _ = await limited.started("k1", ONE)
    await limited.started("k2", ONE)
    await store.client.delete(store.keys.waiting("one"))

    await store.transitions.limits.sweep()
    assert (await limited.held()).lines == {"one": ["k2"]}

    await store.client.delete(store.keys.waiting("one"))
    await store.exchange(outcomes=[outcome("C", holder)])
    assert await store.transitions.limits.sweep() == 1
    assert (await limited.held()).holders == {"one": ["k2"]}


async def test_who_stands_in_line_and_does_not_wait_holds_nobody_up(limited: LimitedStore) -> None:
    store = limited.store
    await store.client.zadd(store.keys.waiting("one"), {"ghost": 1})

    assert (await limited.started("k1", ONE))[1].verdict == "waiting"

    held = await limited.held()
    assert held.holders == {"one": ["k1"]}
    assert held.lines == {}
    assert (await store.claim()).key == b"k1"


async def test_the_sweep_goes_through_more_than_one_page(limited: LimitedStore) -> None:
    store = limited.store
    await limited.started("holder", ONE)
    for i in range(250):
        await store.add(f"k{i:03}")
    for claim in (await store.exchange(want=250)).claims:
        assert (await limited.acquire(claim, ONE)).verdict == "waiting"
    await store.client.delete(store.keys.waiting("one"))

    assert await store.transitions.limits.sweep() == 0

    assert len((await limited.held()).lines["one"]) == 250
