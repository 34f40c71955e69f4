"""Cancelling: what waits goes at once; what runs is told, and stays cancelled whatever happens."""

import pytest

from docket.store.claims import Claim
from tests.support.store import Store, outcome

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("delay_seconds", [None, 60.0], ids=["queued", "scheduled"])
async def test_what_waits_is_removed_and_its_key_is_free_at_once(
    store: Store, delay_seconds: float | None
) -> None:
    await store.add(delay_seconds=delay_seconds)
    assert await store.transitions.cancel("k") == "removed"
    cancelled = await store.state()
    assert cancelled.records["k"]["state"] == "cancelled"
    assert cancelled.places == cancelled.queue == {}
    assert (await store.add()).generation == 2


async def test_nothing_is_cancelled_where_nothing_is(store: Store) -> None:
    await store.register("a")
    assert await store.transitions.cancel("k") == "nothing"
    await store.add()
    await store.exchange(outcomes=[outcome("C", await store.claim(), b"r")])
    before = await store.state()
    assert await store.transitions.cancel("k") == "nothing"
    assert await store.state() == before


async def running_and_cancelled(store: Store) -> Claim:
    await store.register("a", "b")
    await store.add()
    claim = await store.claim("a")
    messages: list[bytes | None] = []
    async with store.connections.subscriber.listening(store.keys.cancel_channel, messages.append):
        assert await store.transitions.cancel("k") == "signalled"
        async with store.connections.subscriber.listening("fence", messages.append):
            pass
    assert messages == [claim.entry + b"\x1fk"]
    return claim


async def test_what_runs_is_told_and_its_record_remembers(store: Store) -> None:
    await running_and_cancelled(store)
    record = await store.record()
    assert (record["state"], record["cancel"]) == ("running", "1")


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("C", "completed"),
        ("F", "failed"),
        ("X", "cancelled"),
        ("A", "cancelled"),
        ("H", "cancelled"),
    ],
)
async def test_a_cancelled_run_ends_as_it_ended_but_never_runs_again(
    store: Store, kind: str, state: str
) -> None:
    claim = await running_and_cancelled(store)
    await store.exchange(outcomes=[outcome(kind, claim, "0", "2")])
    after = await store.state()
    assert after.records["k"]["state"] == state
    assert after.places == after.queue == {}
    assert after.faults() == []


async def test_adoption_obeys_a_cancellation(store: Store) -> None:
    await running_and_cancelled(store)
    assert await store.adopt("a") == (0, [])
    after = await store.state()
    assert after.records["k"]["state"] == "cancelled"
    assert after.places == {}


async def test_a_sweep_obeys_a_cancellation(store: Store) -> None:
    await running_and_cancelled(store)
    assert await store.sweep_now() == 0
    after = await store.state()
    assert after.records["k"]["state"] == "cancelled"
    assert after.places == {}


async def test_a_claim_that_is_taken_back_obeys_a_cancellation(store: Store) -> None:
    await running_and_cancelled(store)
    assert await store.transitions.reclaim("a", 1, []) == []
    after = await store.state()
    assert after.records["k"]["state"] == "cancelled"
    assert after.places == after.pending == {}


async def test_a_replace_of_a_cancelled_run_is_not_cancelled_with_it(store: Store) -> None:
    claim = await running_and_cancelled(store)
    await store.add(replace=1)
    assert "cancel" not in await store.record()
    assert (await store.exchange(outcomes=[outcome("X", claim)])).superseded == [0]
    assert (await store.record())["state"] == "queued"
