"""Leases: renewed for what is still owned, swept once they end, judged only after watching."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import anyio
import pytest

from docket.errors import ServerUnavailable
from docket.store import scripts
from docket.store.claims import Claim
from docket.store.connection.endpoint import Endpoint
from docket.store.connection.lease_connection import Lease, LeaseConnection
from tests.support.proxy import Do, calls, proxy_to
from tests.support.store import POISON, Store, outcome

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def leases(store: Store) -> AsyncGenerator[LeaseConnection]:
    connection = store.connections.lease_connection(store.keys)
    yield connection
    connection.close()
    connection.close()


def lease(claim: Claim) -> Lease:
    return (claim.key, claim.entry, claim.generation)


async def running(store: Store, key: str = "k") -> Claim:
    await store.register("a", "b")
    await store.add(key)
    return await store.claim("a")


async def age(store: Store, claim: Claim, milliseconds: int) -> None:
    """Makes a lease look as if it had not been renewed for so long."""
    await store.client.xclaim(
        store.keys.stream,
        "workers",
        "a",
        0,
        [claim.entry[1:].decode()],
        idle=milliseconds,
        justid=True,
    )


async def idle(store: Store) -> int:
    rows = await store.client.xpending_range(store.keys.stream, "workers", "-", "+", 1)
    return rows[0]["time_since_delivered"]


async def test_a_renewal_keeps_a_lease_and_raises_no_delivery_counter(
    store: Store, leases: LeaseConnection
) -> None:
    claim = await running(store)
    await age(store, claim, 50_000)
    assert await idle(store) >= 50_000

    assert await anyio.to_thread.run_sync(leases.renew, "a", [lease(claim)]) == ([], [])

    assert await idle(store) < 40_000
    assert await store.sweep_now(timedelta(seconds=40)) == 0


async def test_a_renewal_tells_what_was_lost_and_what_was_cancelled(
    store: Store, leases: LeaseConnection
) -> None:
    replaced = await running(store, "replaced")
    cancelled = await running(store, "cancelled")
    ended = await running(store, "ended")
    await store.add("replaced", replace=1, delay_seconds=60)
    await store.transitions.cancel("cancelled")
    await store.exchange(outcomes=[outcome("C", ended)])

    owned = [lease(claim) for claim in (replaced, cancelled, ended)]
    assert leases.renew("a", owned) == ([ended.entry], [cancelled.entry])
    assert leases.renew("b", [lease(cancelled)]) == ([cancelled.entry], [])


@pytest.mark.parametrize("successor", ["waits", "runs", "was cancelled"])
async def test_a_run_whose_key_was_replaced_keeps_its_lease_to_its_end(
    store: Store, leases: LeaseConnection, successor: str
) -> None:
    replaced = await running(store, "k")
    await store.add("k", replace=1)
    if successor == "runs":
        await store.claim("b")
    if successor == "was cancelled":
        await store.transitions.cancel("k")
    await age(store, replaced, 50_000)

    assert leases.renew("a", [lease(replaced)]) == ([], [])

    rows = await store.client.xpending_range(
        store.keys.stream, "workers", replaced.entry[1:].decode(), replaced.entry[1:].decode(), 1
    )
    assert rows[0]["time_since_delivered"] < 40_000


@pytest.mark.parametrize("instead", [None, "a value of somebody's"])
async def test_a_stream_that_somebody_removed_or_overwrote_makes_no_renewal_fail(
    store: Store, leases: LeaseConnection, instead: str | None
) -> None:
    claim = await running(store)
    await store.client.delete(store.keys.stream)
    if instead is not None:
        await store.client.set(store.keys.stream, instead)

    assert leases.renew("a", [lease(claim)]) == ([], [])


async def test_many_leases_are_renewed_in_several_calls(
    store: Store, leases: LeaseConnection
) -> None:
    stranger: Lease = (b"none", b"s1-1", b"1")
    lost, cancelled = leases.renew("a", [stranger] * 600)
    assert (len(lost), cancelled) == (600, [])


async def test_a_beat_keeps_a_consumer_registered_and_tells_one_that_was_struck_off(
    store: Store, leases: LeaseConnection
) -> None:
    await store.register("a")
    await store.client.zadd(store.keys.workers, {"a": 1})
    assert leases.beat("a", ["f"], MINUTE)
    assert (await store.transitions.beats())[b"a"] > 1
    await store.adopt("a")
    assert not leases.beat("a", ["f"], MINUTE)
    assert await store.transitions.beats() == {}


async def test_what_a_consumer_tells_lasts_as_long_as_its_beats(
    store: Store, leases: LeaseConnection
) -> None:
    name = store.keys.worker_info("a")
    await store.register("a")
    assert leases.beat("a", ["f"], MINUTE, b"told")
    assert await store.client.hgetall(name) == {b"info": b"told"}
    await store.client.pexpire(name, 1_000)
    assert leases.beat("a", ["f"], MINUTE)
    assert await store.client.pttl(name) > 50_000
    await store.client.pexpire(name, 1_000)
    assert await store.transitions.vouch("a", MINUTE)
    assert await store.client.pttl(name) > 50_000
    assert await store.client.hgetall(name) == {b"info": b"told"}
    await store.adopt("a")
    assert await store.client.exists(name) == 0
    assert not leases.beat("a", ["f"], MINUTE, b"told")
    assert await store.client.exists(name) == 0


async def test_a_consumer_tells_over_what_somebody_has_put_there(
    store: Store, leases: LeaseConnection
) -> None:
    name = store.keys.worker_info("a")
    await store.register("a")
    await store.client.set(name, "a value of somebody's")
    assert leases.beat("a", ["f"], MINUTE, b"told")
    assert await store.client.hgetall(name) == {b"info": b"told"}


async def test_a_keepers_connection_survives_the_loss_of_the_servers_scripts(
    store: Store, leases: LeaseConnection
) -> None:
    await store.register("a")
    await store.client.script_flush()
    assert leases.beat("a", [], MINUTE)


async def test_a_beat_to_a_server_that_is_away_raises_and_the_next_one_connects_anew(
    store: Store, server: str
) -> None:
    async with proxy_to(server) as proxy:
        leases = LeaseConnection(
            Endpoint(proxy.url), store.keys, asyncio.get_running_loop(), timeout_seconds=0.2
        )
        await store.register("a")
        proxy.intercept(calls(scripts.BEAT), Do.LOSE_REPLY)
        with pytest.raises(ServerUnavailable, match="beat on"):
            await anyio.to_thread.run_sync(leases.beat, "a", [], MINUTE)
        assert await anyio.to_thread.run_sync(leases.beat, "a", [], MINUTE)
        proxy.half_open()
        with pytest.raises(ServerUnavailable):
            await anyio.to_thread.run_sync(leases.beat, "a", [], MINUTE)
        leases.close()


async def test_a_sweep_takes_a_lease_that_ended_and_leaves_one_that_did_not(store: Store) -> None:
    old = await running(store, "old")
    await running(store, "new")
    await age(store, old, 120_000)

    assert await store.sweep_now(MINUTE) == 1

    after = await store.state()
    assert after.records["old"]["state"] == "queued"
    assert after.where("old")[0][0] == "f"
    assert after.records["new"]["state"] == "running"
    assert after.faults() == []


@pytest.mark.parametrize(("theirs", "taken"), [(180, 0), (120, 1), (30, 1)])
async def test_a_lease_is_as_long_as_its_owner_says_whoever_sweeps(
    store: Store, theirs: int, taken: int
) -> None:
    await store.transitions.register("a", ["f"], MINUTE, timedelta(seconds=theirs))
    await store.add("k")
    (claim,) = (await store.exchange("a", want=1)).claims
    await age(store, claim, 120_000)

    assert await store.sweep_now(MINUTE) == taken
    await store.transitions.adopt("a", "nobody", 3, POISON)
    assert not await store.client.exists(store.keys.leases)


async def test_a_longer_lease_is_judged_by_who_has_watched_for_half_of_it(store: Store) -> None:
    await store.transitions.register("a", ["f"], MINUTE, timedelta(seconds=100))
    await store.add("k")
    (claim,) = (await store.exchange("a", want=1)).claims
    await age(store, claim, 120_000)
    now = await store.now()
    await store.client.set(store.keys.watch, now - 45_000, px=30_000)
    assert await store.transitions.sweep(MINUTE) == 0
    await store.client.set(store.keys.watch, now - 55_000, px=30_000)
    assert await store.transitions.sweep(MINUTE) == 1


async def test_a_sweep_judges_nobody_before_it_has_watched_for_half_the_timeout(
    store: Store,
) -> None:
    # After an outage longer than the timeout, or of a server that stood still, every lease looks
    # lost although every worker lives.
    claim = await running(store)
    await age(store, claim, 120_000)
    before = await store.state()

    assert await store.transitions.sweep(MINUTE) == 0
    assert await store.transitions.sweep(MINUTE) == 0
    assert await store.state() == before
    assert 0 < await store.client.pttl(store.keys.watch) <= 30_000

    now = await store.now()
    await store.client.set(store.keys.watch, now - 29_000, px=30_000)
    assert await store.transitions.sweep(MINUTE) == 0
    await store.client.set(store.keys.watch, now - 31_000, px=30_000)
    assert await store.transitions.sweep(MINUTE) == 1


async def test_a_sweep_forgets_pending_entries_that_nobody_owns(store: Store) -> None:
    await running(store)
    await store.client.delete(store.keys.record("k"))
    claim = await running(store, "deleted")
    await store.client.xdel(store.keys.stream, claim.entry[1:])
    assert await store.sweep_now() == 0
    assert (await store.state()).pending == {}
    assert (await store.state()).places == {}


async def test_a_sweep_looks_at_so_many_entries_a_call_and_at_all_of_them(store: Store) -> None:
    await store.register("a")
    for first in range(0, 1200, 200):
        await asyncio.gather(*[store.add(f"k{n}") for n in range(first, first + 200)])
        await store.exchange(want=200)
    newest, last = (await store.client.xrevrange(store.keys.stream, count=2))[::-1]
    for identity, _ in (newest, last):
        await store.client.xclaim(
            store.keys.stream, "workers", "a", 0, [identity], idle=120_000, justid=True
        )
    await store.client.set(store.keys.watch, 1, px=60_000)

    replies = [await sweep_once(store, "-")]
    while replies[-1][1]:
        replies.append(await sweep_once(store, replies[-1][1]))

    assert [moved for moved, _, _ in replies] == [0, 0, 2]
    assert await store.client.xlen(store.keys.redelivery) == 2


async def test_a_sweep_moves_so_many_a_call_and_goes_on_with_the_next(store: Store) -> None:
    await store.register("a")
    await asyncio.gather(*[store.add(f"k{n}") for n in range(250)])
    await store.exchange(want=250)
    await store.client.set(store.keys.watch, 1, px=60_000)

    first = await sweep_once(store, "-", timeout=0)

    assert first[0] == 100
    assert (await sweep_once(store, first[1], timeout=0))[0] == 100
    assert await store.sweep_now() == 50
    assert (await store.state()).faults() == []


async def sweep_once(store: Store, start: str | bytes, timeout: int = 60_000) -> list[Any]:
    """One call over the stream: how many were moved, where to go on."""
    keys = store.keys
    return await store.connections.pipeline.call(
        scripts.SWEEP,
        [keys.stream, keys.redelivery, keys.quarantine, keys.queue, keys.wakeup, keys.watch],
        [keys.prefix, timeout, 60_000, "s", start],
    )


async def test_a_vouching_renews_every_lease_and_the_heartbeat_of_one_that_cannot(
    store: Store,
) -> None:
    claim = await running(store)
    await age(store, claim, 50_000)
    await store.client.zadd(store.keys.workers, {"a": 1})

    assert await store.transitions.vouch("a", MINUTE)

    assert await idle(store) < 40_000
    server_now, beats = await store.transitions.beats_at()
    assert server_now - beats[b"a"] < 40_000
    assert await store.sweep_now(timedelta(seconds=40)) == 0
    # It goes on as if it had renewed by itself: its outcome counts.
    await store.exchange("a", [outcome("C", claim)])
    assert await store.client.hget(store.keys.record("k"), "state") == b"completed"


async def test_nobody_vouches_for_one_that_was_fenced(store: Store) -> None:
    await running(store)
    await store.adopt("a", "nobody", 3)

    assert not await store.transitions.vouch("a", MINUTE)

    assert b"a" not in await store.transitions.beats()
    assert b"a" not in await store.transitions.group_consumers()


async def test_a_vouching_leaves_no_pending_entry_that_was_deleted(store: Store) -> None:
    claim = await running(store)
    await store.client.xdel(store.keys.stream, claim.entry[1:].decode())

    assert await store.transitions.vouch("a", MINUTE)

    assert await store.adopt("a", "nobody", 3) == (0, [])
    assert b"a" not in await store.transitions.group_consumers()
