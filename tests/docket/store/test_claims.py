"""Claiming: what an exchange takes, in which order, how much at most, and whom it wakes."""

import asyncio

import pytest

from docket.store import scripts
from docket.store.connection.pipeline import LostReply
from tests.support.store import Store, outcome

pytestmark = pytest.mark.anyio


async def requeue(store: Store, key: str) -> None:
    await store.add(key)
    await store.exchange(outcomes=[outcome("H", await store.claim())])


async def test_what_was_requeued_is_taken_before_any_backlog(store: Store) -> None:
    await store.register("a")
    await requeue(store, "back")
    await store.add("new")

    claims = (await store.exchange(want=2)).claims

    assert [claim.key for claim in claims] == [b"back", b"new"]
    assert [claim.came_from for claim in claims] == [b"a", None]


async def test_an_exchange_promotes_what_is_due_and_takes_it(store: Store) -> None:
    await store.register("a")
    await store.add(delay_seconds=60)
    await store.rewind_queue()
    assert (await store.claim()).key == b"k"
    assert (await store.state()).faults() == []


async def test_a_stale_entry_is_removed_and_nothing_else(store: Store) -> None:
    await store.register("a")
    await store.add("gone")
    await store.client.delete(store.keys.record("gone"))
    await store.add("there")
    claims = (await store.exchange(want=5)).claims
    assert [claim.key for claim in claims] == [b"there"]
    assert list((await store.state()).places.values()) == ["there"]


async def test_at_most_256_entries_are_read_in_one_call_and_the_reply_says_more(
    store: Store,
) -> None:
    await store.register("a")
    await asyncio.gather(*[store.add(f"k{n}") for n in range(600)])
    stale = [store.keys.record(f"k{n}") for n in range(500)]
    await store.client.delete(*stale)

    replies = [await store.exchange(want=5)]
    while replies[-1].more:
        replies.append(await store.exchange(want=5))

    assert len(replies) > 1
    assert [len(reply.claims) for reply in replies[:-1]] == [0] * (len(replies) - 1)
    assert len(replies[-1].claims) == 5
    assert (await store.state()).faults() == []


async def test_the_payload_of_one_call_stays_near_its_limit(store: Store) -> None:
    await store.register("a")
    payload = bytes(1 << 20)
    for n in range(30):
        await store.add(f"k{n}", call=payload)

    reply = await store.exchange(want=30)

    assert 4 <= len(reply.claims) <= 9
    assert reply.more
    taken = len(reply.claims)
    while reply.more:
        reply = await store.exchange(want=30 - taken)
        taken += len(reply.claims)
    assert taken == 30


async def test_the_payload_of_a_later_read_is_judged_by_what_the_first_one_brought(
    store: Store,
) -> None:
    await store.register("a")
    payload = bytes(400 << 10)
    for n in range(40):
        await store.add(f"k{n}", call=payload)
    reply = await store.exchange(want=40)
    assert len(reply.claims) <= 12
    assert reply.more


async def test_large_payloads_behind_small_ones_are_put_back_and_claimed_next(
    store: Store,
) -> None:
    # Forty megabytes kept the server from everyone else for 75 ms.
    await store.register("a", "b")
    await asyncio.gather(*[store.add(f"small{n}") for n in range(60)])
    for n in range(20):
        await store.add(f"large{n}", call=bytes(1 << 20))

    first = await store.exchange("a", want=100)

    assert len(first.claims) == 64
    assert first.more
    state = await store.state()
    assert state.faults() == []
    assert list(state.pending.values()) == ["a"] * 64
    second = await store.exchange("b", want=2)
    assert [claim.key for claim in second.claims] == [b"large4", b"large5"]
    assert [claim.came_from for claim in second.claims] == [None, None]


async def test_the_census_counts_what_is_left_wherever_it_is(store: Store) -> None:
    await store.register("a", "b")
    await store.add("later", delay_seconds=60)
    await store.add("run")
    await store.claim("b")
    assert (await store.exchange(want=1, census=True)).left == 2
    assert (await store.exchange(want=1)).left == -1
    await store.transitions.cancel("later")
    await store.adopt("b")
    assert (await store.exchange(want=1, census=True)).left == -1
    assert (await store.exchange(want=1, census=True)).left == 1


async def test_the_group_is_made_again_when_a_stream_was_deleted(store: Store) -> None:
    await store.register("a")
    await store.add("lost")
    await store.client.delete(store.keys.stream, store.keys.redelivery, store.keys.quarantine)
    await store.add("found")

    assert (await store.claim()).key == b"found"
    assert list((await store.state()).pending.values()) == ["a"]


async def test_a_stream_that_was_overwritten_is_set_aside_and_the_next_claim_goes_on(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await store.register("a")
    await store.client.set(store.keys.redelivery, "not a stream")
    # What it had done by then may have been much: as after a lost reply.
    with pytest.raises(LostReply, match="WRONGTYPE"):
        await store.exchange(want=1)
    assert f"{store.keys.redelivery} was overwritten by somebody with a string" in caplog.text
    assert await store.client.get(store.keys.key("set-aside:front")) == b"not a stream"
    await store.add("k")
    assert [claim.key for claim in (await store.exchange(want=1)).claims] == [b"k"]


async def test_a_quarantined_task_comes_alone_to_who_has_none_and_to_nobody_else(
    store: Store,
) -> None:
    await store.register("a", "b", "c")
    await asyncio.gather(store.add("1"), store.add("2"), store.add("fine"))
    await store.exchange("a", want=2)
    await store.adopt("a", "everyone")

    taken = await store.exchange("b", want=5)
    assert [(claim.key in {b"1", b"2"}, claim.deaths) for claim in taken.claims] == [(True, 1)]
    assert taken.more
    innocents = await store.exchange("b", want=5, may_take_quarantined=False)
    assert [(claim.key, claim.deaths) for claim in innocents.claims] == [(b"fine", 0)]
    assert not innocents.more
    assert [claim.deaths for claim in (await store.exchange("c", want=5)).claims] == [1]


class TestTheWakeup:
    """One token at most; who cannot use what is left wakes the next."""

    async def ring_at(self, store: Store) -> bool:
        return await store.client.lpop(store.keys.wakeup) is not None

    async def test_any_number_of_adds_leave_one_token(self, store: Store) -> None:
        for n in range(3):
            await store.add(str(n))
        assert await store.client.llen(store.keys.wakeup) == 1

    async def test_a_future_task_rings_for_nobody(self, store: Store) -> None:
        await store.add(delay_seconds=60)
        assert not await self.ring_at(store)

    async def test_who_gets_all_it_asked_for_passes_the_baton(self, store: Store) -> None:
        await store.register("a")
        await asyncio.gather(store.add("1"), store.add("2"), store.add("3"))
        await self.ring_at(store)
        await store.exchange(want=2)
        assert await self.ring_at(store)
        await store.exchange(want=2)
        assert not await self.ring_at(store)

    async def test_who_promotes_and_wants_nothing_wakes_another(self, store: Store) -> None:
        await store.register("a")
        await store.add(delay_seconds=60)
        await store.rewind_queue()
        await store.exchange(want=0)
        assert await self.ring_at(store)

    @pytest.mark.parametrize("kind", ["A", "H"], ids=["a retry at once", "a hand-back"])
    async def test_a_run_that_goes_back_wakes_another(self, store: Store, kind: str) -> None:
        await store.register("a")
        await store.add()
        claim = await store.claim()
        await self.ring_at(store)
        await store.exchange(outcomes=[outcome(kind, claim, 0, 2)])
        assert await self.ring_at(store)

    async def test_adoption_sweep_and_promotion_wake_somebody(self, store: Store) -> None:
        await store.register("a", "b")
        await store.add()
        await store.claim("a")
        await self.ring_at(store)
        await store.adopt("a")
        assert await self.ring_at(store)
        await store.claim("b")
        await self.ring_at(store)
        await store.sweep_now()
        assert await self.ring_at(store)
        await store.add("later", delay_seconds=60)
        await store.rewind_queue()
        await store.transitions.promote()
        assert await self.ring_at(store)

    async def test_a_quarantined_task_that_is_left_over_wakes_the_next_one(
        self, store: Store
    ) -> None:
        await store.register("a", "b", "c", "d")
        await asyncio.gather(store.add("1"), store.add("2"))
        await store.exchange("a", want=2)
        await store.adopt("a", "everyone")
        await self.ring_at(store)
        await store.exchange("b", want=5)
        assert await self.ring_at(store)
        await store.exchange("c", want=5)
        await self.ring_at(store)
        await store.exchange("d", want=5)
        assert not await self.ring_at(store)

    async def test_a_token_is_passed_on_once(self, store: Store) -> None:
        await store.transitions.wake_idle()
        await store.transitions.wake_idle()
        assert await store.client.llen(store.keys.wakeup) == 1


def test_every_script_says_its_keys_its_arguments_and_its_reply() -> None:
    for script in vars(scripts).values():
        if isinstance(script, scripts.Script):
            header = [line for line in script.source.splitlines() if line.startswith("--")]
            assert any(line.startswith(f"-- {script.name}:") for line in header), script.name
            for word in ("-- KEYS", "-- ARGV", "-- Reply"):
                assert any(line.startswith(word) for line in header), (script.name, word)
            assert "--@include" not in script.source
