"""What the sweep of slots and waiters mends, and what mends itself."""

import pytest

from docket.store.pages import NEVER
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


async def waits(limited: LimitedStore, key: str) -> bool:
    client, keys = limited.store.client, limited.store.keys
    state = await client.hget(keys.record(key), "state")
    return state == b"scheduled" and await client.zscore(keys.queue, key) == NEVER


async def test_who_waits_for_a_slot_stands_in_the_queue_again_after_somebody_deleted_it(
    limited: LimitedStore,
) -> None:
    store = limited.store
    await limited.started("k1", ONE)
    await limited.started("k2", ONE)
    await store.client.delete(store.keys.queue)

    assert await store.transitions.limits.sweep() == 1

    assert await waits(limited, "k2")
    assert await store.transitions.limits.sweep() == 0


@pytest.mark.parametrize("limits", [b"", b"x", b"\x81\xa1g\xa19", None])
async def test_who_waits_for_nothing_that_is_known_asks_anew(
    limited: LimitedStore, limits: bytes | None
) -> None:
    store = limited.store
    await limited.started("k1", ONE)
    await limited.started("k2", ONE)
    if limits is None:
        await store.client.hdel(store.keys.record("k2"), "limits")
    else:
        await store.client.hset(store.keys.record("k2"), "limits", limits)

    assert await store.transitions.limits.sweep() > 0

    assert not await store.client.exists(store.keys.queue)
    assert (await limited.acquire(await store.claim(), ONE)).verdict == "waiting"
    assert await waits(limited, "k2")


async def test_who_has_ended_and_stands_in_the_queue_is_left_alone(limited: LimitedStore) -> None:
    store = limited.store
    holder, _ = await limited.started("k1", ONE)
    await store.exchange(outcomes=[outcome("C", holder)])
    await store.client.zadd(store.keys.queue, {"k1": NEVER, "ghost": NEVER})

    assert await store.transitions.limits.sweep() == 2

    assert not await store.client.exists(store.keys.queue)
    assert (await store.exchange(want=10)).claims == []


async def test_a_holder_whose_entry_somebody_deleted_is_put_back_once_its_worker_is_gone(
    limited: LimitedStore,
) -> None:
    store = limited.store
    holder, _ = await limited.started("k1", ONE)
    await store.client.xdel(store.keys.stream, holder.entry[1:])
    await store.client.hdel(store.keys.epochs, "a")

    await store.transitions.limits.sweep()

    assert await store.client.hget(store.keys.record("k1"), "state") == b"queued"
    await store.register("b")
    again = await store.claim("b")
    assert again.key == b"k1"
    assert (await limited.acquire(again, ONE, consumer="b")).verdict == "granted"
