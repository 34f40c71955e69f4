"""A record that somebody overwrote: what hung on it is left out, all else goes on."""

from collections.abc import Awaitable, Callable

import pytest
from redis.exceptions import ResponseError

from docket.store.manual import Content, RunIdentity
from tests.support.store import Store, outcome

pytestmark = pytest.mark.anyio

NEW = Content("f", 1, b"call", 1)


async def overwrite(store: Store, name: str) -> None:
    await store.client.delete(name)
    await store.client.lpush(name, "foreign")


async def overwrite_record(store: Store, key: str) -> None:
    await overwrite(store, store.keys.record(key))


def was_told(caplog: pytest.LogCaptureFixture, name: str) -> bool:
    return f"{name} was overwritten by somebody with a list" in caplog.text


async def test_a_claim_leaves_it_out_and_takes_the_rest(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await store.register("a")
    for key in ("1", "2", "3"):
        await store.add(key)
    await overwrite_record(store, "2")

    claims = (await store.exchange(want=5)).claims

    assert [claim.key for claim in claims] == [b"1", b"3"]
    assert was_told(caplog, store.keys.record("2"))
    assert sorted((await store.state("1", "3")).places.values()) == ["1", "3"]
    caplog.clear()
    assert (await store.exchange(want=5)).claims == []
    assert not caplog.records


async def test_an_outcome_of_it_is_superseded_and_the_others_are_recorded(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await store.register("a")
    await store.add("1")
    await store.add("2")
    claims = (await store.exchange(want=2)).claims
    await overwrite_record(store, "1")

    reply = await store.exchange(outcomes=[outcome("C", claim, b"r") for claim in claims])

    assert reply.superseded == [0]
    assert (await store.record("2"))["state"] == "completed"
    after = await store.state("2")
    assert (after.places, after.pending) == ({}, {})
    assert was_told(caplog, store.keys.record("1"))


Moves = Callable[[Store], Awaitable[int]]


async def by_adoption(store: Store) -> int:
    return (await store.adopt("a", "nobody"))[0]


async def by_sweep(store: Store) -> int:
    return await store.sweep_now()


@pytest.mark.parametrize("move", [by_adoption, by_sweep])
async def test_what_else_the_dead_ran_is_moved(
    store: Store, move: Moves, caplog: pytest.LogCaptureFixture
) -> None:
    await store.register("a")
    for key in ("1", "2", "3"):
        await store.add(key)
    await store.exchange("a", want=3)
    await overwrite_record(store, "2")

    assert await move(store) == 2

    after = await store.state("1", "3")
    assert sorted(after.places.values()) == ["1", "3"]
    assert after.pending == {}
    assert was_told(caplog, store.keys.record("2"))


async def test_what_else_is_due_is_promoted(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    for key in ("1", "2", "3"):
        await store.add(key, delay_seconds=3600)
    await overwrite_record(store, "2")
    await store.rewind_queue()

    assert await store.transitions.promote() == (2, None)

    assert sorted((await store.state("1", "3")).places.values()) == ["1", "3"]
    assert was_told(caplog, store.keys.record("2"))


async def test_its_lease_and_those_of_others_are_kept(store: Store) -> None:
    await store.register("a")
    await store.add("1")
    await store.add("2")
    claims = (await store.exchange(want=2)).claims
    await overwrite_record(store, "1")
    connection = store.connections.lease_connection(store.keys)
    lost, cancelled = connection.renew(
        "a", [(claim.key, claim.entry, claim.generation) for claim in claims]
    )
    connection.close()
    assert (lost, cancelled) == ([], [])


async def test_what_of_ones_own_was_lost_with_a_reply_is_taken_back_without_it(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await store.register("a")
    await store.add("1")
    await store.add("2")
    await store.exchange(want=2)
    await overwrite_record(store, "1")

    claims = await store.transitions.reclaim("a", 1, [])

    assert [claim.key for claim in claims] == [b"2"]
    assert was_told(caplog, store.keys.record("1"))


async def test_a_cancellation_finds_nothing_and_takes_it_out_of_the_queue(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await store.add("1", delay_seconds=3600)
    await overwrite_record(store, "1")
    assert await store.transitions.cancel("1") == "nothing"
    assert was_told(caplog, store.keys.record("1"))
    assert await store.client.zcard(store.keys.queue) == 0
    assert await store.client.lrange(store.keys.record("1"), 0, -1) == [b"foreign"]


async def test_progress_of_it_is_that_of_a_superseded_run(store: Store) -> None:
    await store.register("a")
    await store.add()
    claim = await store.claim()
    await overwrite_record(store, "k")
    entry, generation = claim.entry.decode(), int(claim.generation)
    assert await store.transitions.report_progress("k", entry, generation, "increment", 1) is None


async def test_who_names_it_by_hand_is_told_and_nothing_is_written_over_it(store: Store) -> None:
    await overwrite_record(store, "k")
    identity = RunIdentity("k", 0, "")
    with pytest.raises(ResponseError, match="record of task k was overwritten by a list"):
        await store.transitions.manual.mark(identity, "completed", "", "", lambda: NEW)
    with pytest.raises(ResponseError, match="record of task k was overwritten by a list"):
        await store.transitions.manual.claim(identity, "w", lambda: NEW)
    assert await store.client.lrange(store.keys.record("k"), 0, -1) == [b"foreign"]
