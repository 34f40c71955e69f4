"""Who may say how a run ended: generation, entry and consumer, all three."""

import pytest

from docket.store.transitions import Fenced, StaleEpoch
from tests.support.store import Store, outcome

pytestmark = pytest.mark.anyio


async def heard(store: Store, key: str = "k") -> list[bytes]:
    """Who listens to the state of a key from now on gets its messages into this list."""
    messages: list[bytes] = []
    listening = store.connections.subscriber.listening(
        store.keys.state_channel(key), lambda payload: messages.append(payload or b"")
    )
    # Ends with the connections, at the end of the test.
    await listening.__aenter__()
    return messages


async def test_the_outcome_of_a_replaced_run_removes_its_entry_and_nothing_else(
    store: Store,
) -> None:
    await store.register("a")
    await store.add()
    old = await store.claim()
    await store.add(replace=1, delay_seconds=60)
    before = await store.state()
    messages = await heard(store)

    reply = await store.exchange(outcomes=[outcome("C", old, b"old")])

    after = await store.state()
    assert reply.superseded == [0]
    assert after.records == before.records
    assert after.records["k"]["state"] == "scheduled"
    assert before.pending == {old.entry.decode(): "a"}
    assert after.pending == {}
    assert after.places == {}
    assert messages == []


async def test_the_outcome_of_an_adopted_run_is_superseded_and_the_new_run_is_unharmed(
    store: Store,
) -> None:
    await store.register("a", "b", "c")
    await store.add()
    old = await store.claim("a")
    await store.adopt("a")
    new = await store.claim("b")

    for kind in "CFXAHS":
        row = outcome(kind, old, b"1", 2)
        assert (await store.exchange("c", [row])).superseded == [0]

    after = await store.state()
    assert new.entry != old.entry
    assert after.records["k"]["worker"] == "b"
    assert after.pending == {new.entry.decode(): "b"}
    assert after.faults() == []


async def test_the_outcome_of_a_run_whose_lease_was_swept_is_superseded(store: Store) -> None:
    await store.register("a", "b")
    await store.add()
    old = await store.claim("a")
    await store.sweep_now()
    before = await store.state()

    assert (await store.exchange("a", [outcome("C", old, b"r")])).superseded == [0]

    assert await store.state() == before
    assert before.records["k"]["state"] == "queued"
    assert before.faults() == []


async def test_a_run_handed_in_by_another_consumer_keeps_its_entry_for_who_adopts_it(
    store: Store,
) -> None:
    # A worker that was fenced takes a new name and hands in what it stopped. Removing the entry
    # here would leave a record that says running and that no adopter ever finds.
    await store.register("a", "a2")
    await store.add()
    claim = await store.claim("a")
    for kind in "SCH":
        reply = await store.exchange("a2", [outcome(kind, claim, b"r")])
        assert reply.superseded == [0]

    moved, _ = await store.adopt("a", "nobody")

    assert moved == 1
    assert (await store.claim("a2")).key == b"k"


async def test_a_claim_that_a_failover_rolled_back_is_still_accepted(store: Store) -> None:
    await store.register("a")
    await store.add()
    claim = await store.claim()
    # The failover lost the claim and what it wrote, and kept the entry.
    await store.client.hset(store.keys.record("k"), "state", "queued")
    await store.client.hdel(store.keys.record("k"), "worker", "started_at")

    reply = await store.exchange(outcomes=[outcome("C", claim, b"r")])

    assert reply.superseded == []
    assert (await store.record())["state"] == "completed"
    assert (await store.state()).faults() == []


async def test_an_outcome_that_is_sent_twice_counts_once(store: Store) -> None:
    await store.register("a")
    await store.add()
    claim = await store.claim()
    await store.exchange(outcomes=[outcome("A", claim, 60_000_000, 2)])
    before = await store.state()

    assert (await store.exchange(outcomes=[outcome("A", claim, 60_000_000, 2)])).superseded == [0]

    assert await store.state() == before
    assert before.records["k"]["attempt"] == "2"


async def test_a_consumer_that_is_not_registered_may_neither_claim_nor_end_a_run(
    store: Store,
) -> None:
    await store.register("a")
    await store.add()
    await store.add("other")
    claim = await store.claim()
    await store.client.hdel(store.keys.epochs, "a")
    before = await store.state()

    with pytest.raises(Fenced):
        await store.exchange(outcomes=[outcome("C", claim)], want=1)
    with pytest.raises(Fenced):
        await store.transitions.raise_epoch("a")
    with pytest.raises(Fenced):
        await store.transitions.reclaim("a", 1, [])

    assert await store.state() == before


async def test_an_exchange_of_an_older_epoch_does_nothing_however_late_it_comes(
    store: Store,
) -> None:
    await store.register("a")
    await store.add()
    await store.add("other")
    claim = await store.claim()
    assert await store.transitions.raise_epoch("a") == 2
    before = await store.state()

    with pytest.raises(StaleEpoch):
        await store.exchange(outcomes=[outcome("C", claim)], want=1, epoch=1)
    with pytest.raises(StaleEpoch):
        await store.transitions.reclaim("a", 1, [])

    assert await store.state() == before
    assert (await store.exchange(outcomes=[outcome("C", claim)], epoch=2)).superseded == []


async def test_one_execution_replaced_while_it_runs_leaves_two_runs_and_one_record(
    store: Store,
) -> None:
    await store.register("a", "b")
    await store.add()
    old = await store.claim("a")
    await store.add(replace=1)
    new = await store.claim("b")

    first = await store.exchange("b", [outcome("C", new, b"new")])
    second = await store.exchange("a", [outcome("F", old, b"old", "old")])

    assert (first.superseded, second.superseded) == ([], [0])
    after = await store.state()
    assert after.records["k"]["state"] == "completed"
    assert after.records["k"]["generation"] == "2"
    assert after.places == {}


async def test_a_replaced_run_whose_worker_dies_is_not_run_again(store: Store) -> None:
    await store.register("a", "b")
    await store.add()
    await store.claim("a")
    await store.add(replace=1, delay_seconds=60)

    assert await store.adopt("a") == (0, [])

    after = await store.state()
    assert after.places == {}
    assert after.records["k"]["state"] == "scheduled"
    assert "deaths" not in after.records["k"]
