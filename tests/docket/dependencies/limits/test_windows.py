"""Cooldown, Debounce and RateLimit by the script: who runs, who comes later, who is dropped."""

import pytest
from msgspec import msgpack

from docket.store.claims import Claim
from docket.store.limits import LimitKind, LimitRequest
from tests.support.limits import LimitedStore, left_behind, slots
from tests.support.store import outcome

pytestmark = pytest.mark.anyio

MINUTE = 60_000
COOL = LimitRequest(LimitKind.COOLDOWN, "t", MINUTE)
SETTLE = LimitRequest(LimitKind.DEBOUNCE, "t", MINUTE)
RATE = LimitRequest(LimitKind.RATE, "t", 2, MINUTE)
DROPPING = LimitRequest(LimitKind.DROPPING_RATE, "t", 2, MINUTE)


async def come_due(limited: LimitedStore, key: str) -> Claim:
    """The claim of a task that was scheduled, as if its time had come."""
    store = limited.store
    await store.client.zadd(store.keys.queue, {key: 1})
    claim = await store.claim()
    assert claim.key == key.encode()
    return claim


async def settled(limited: LimitedStore, key: str) -> Claim:
    """The same, for one whose quiet time is over: the record says when that is."""
    store = limited.store
    settle = LimitRequest(LimitKind.DEBOUNCE, SETTLE.scope, 1)
    await store.add(key)
    claim = await store.claim()
    admission = await limited.acquire(claim, settle)
    assert admission.verdict == "later"
    while await store.now() <= admission.when:
        pass
    return await come_due(limited, key)


# Cooldown -----------------------------------------------------------------------------------


async def test_a_cooldown_drops_what_follows_the_first(limited: LimitedStore) -> None:
    _, first = await limited.started("k1", COOL)
    _, second = await limited.started("k2", COOL)

    assert first.verdict == "granted"
    assert second == ("dropped", "t", 0)
    assert (await limited.store.record("k2"))["state"] == "cancelled"
    assert (await limited.store.state()).faults() == []


async def test_the_window_of_a_cooldown_ends(limited: LimitedStore) -> None:
    store = limited.store
    await limited.started("k1", COOL)
    assert 0 < await store.client.pttl(store.keys.cooldown("t")) <= MINUTE
    await store.client.delete(store.keys.cooldown("t"))

    assert (await limited.started("k2", COOL))[1].verdict == "granted"


@pytest.mark.parametrize("limit_request", [COOL, DROPPING, RATE])
async def test_a_grant_is_kept_through_a_retry(
    limited: LimitedStore, limit_request: LimitRequest
) -> None:
    store = limited.store
    claim, _ = await limited.started("k1", LimitRequest(limit_request.kind, "t", 1, MINUTE))

    await store.exchange(outcomes=[outcome("A", claim, 0, 2)])
    again = await store.claim()

    assert (
        await limited.acquire(again, LimitRequest(limit_request.kind, "t", 1, MINUTE))
    ).verdict == "granted"


@pytest.mark.parametrize("limit_request", [COOL, DROPPING, RATE])
async def test_a_grant_is_kept_through_the_death_of_the_worker(
    limited: LimitedStore, limit_request: LimitRequest
) -> None:
    store = limited.store
    await limited.started("k1", LimitRequest(limit_request.kind, "t", 1, MINUTE))

    await store.adopt("a")
    again = await store.claim("b")

    admission = await limited.acquire(
        again, LimitRequest(limit_request.kind, "t", 1, MINUTE), consumer="b"
    )
    assert admission.verdict == "granted"


async def test_a_grant_is_not_that_of_the_next_execution_of_the_key(limited: LimitedStore) -> None:
    store = limited.store
    claim, _ = await limited.started("k1", COOL)
    await store.exchange(outcomes=[outcome("C", claim)])

    assert (await limited.started("k1", COOL))[1].verdict == "dropped"


async def test_of_two_cooldowns_each_may_drop(limited: LimitedStore) -> None:
    other = LimitRequest(LimitKind.COOLDOWN, "other", MINUTE)
    await limited.started("k1", other)

    assert (await limited.started("k2", COOL, other))[1] == ("dropped", "other", 0)
    # It ran not, so its own window has not begun.
    assert (await limited.started("k3", COOL))[1].verdict == "granted"


async def test_who_is_dropped_after_it_waited_gives_its_slot_on(limited: LimitedStore) -> None:
    store = limited.store
    holder, _ = await limited.started("holder", slots("s"))
    await limited.started("k1", COOL, slots("s"))
    await limited.started("k2", COOL, slots("s"))
    await limited.started("k3", slots("s"))

    await store.exchange(outcomes=[outcome("C", holder)])
    first = await store.claim()
    assert (await limited.acquire(first, COOL, slots("s"))).verdict == "granted"
    await store.exchange(outcomes=[outcome("C", first)])
    second = await store.claim()

    assert second.key == b"k2"
    assert (await limited.acquire(second, COOL, slots("s"))).verdict == "dropped"
    assert (await limited.held()).holders == {"s": ["k3"]}


# Debounce -----------------------------------------------------------------------------------


async def test_a_debounce_waits_until_it_is_quiet(limited: LimitedStore) -> None:
    store = limited.store
    before = await store.now()

    _, admission = await limited.started("k1", SETTLE)

    assert admission.verdict == "later"
    assert before + MINUTE <= admission.when <= await store.now() + MINUTE
    assert (await store.state()).queue == {"k1": admission.when}
    assert (await store.state()).faults() == []


async def test_the_first_one_stays_and_those_that_follow_are_dropped(limited: LimitedStore) -> None:
    store = limited.store
    _, first = await limited.started("k1", SETTLE)
    _, second = await limited.started("k2", SETTLE)

    assert (second.verdict, (await store.record("k2"))["state"]) == ("dropped", "cancelled")
    assert (await store.state()).queue == {"k1": first.when}
    assert (await store.state()).faults() == []


async def test_the_first_one_waits_until_nobody_follows(limited: LimitedStore) -> None:
    store = limited.store
    claim = await settled(limited, "k1")
    before = await store.now()
    await limited.started("k2", SETTLE)
    followed = await limited.acquire(claim, SETTLE)

    assert followed.verdict == "later"
    assert before + MINUTE <= followed.when <= await store.now() + MINUTE
    assert (await store.state()).queue == {"k1": followed.when}


async def test_the_first_one_runs_when_its_quiet_time_is_over(limited: LimitedStore) -> None:
    claim = await settled(limited, "k1")

    assert (await limited.acquire(claim, SETTLE)).verdict == "granted"

    # It began: whoever comes now is the first of the next round.
    assert (await limited.started("k2", SETTLE))[1].verdict == "later"
    assert (await limited.store.record("k1"))["state"] == "running"


@pytest.mark.parametrize("left", [[], ["k1"], ["k1", "1"], ["k1", "1", "never"], ["k2", "7", "1"]])
async def test_a_marker_of_somebody_else_keeps_nobody_from_running(
    limited: LimitedStore, left: list[str]
) -> None:
    store = limited.store
    await store.client.set(store.keys.debounce("t"), msgpack.encode(left))

    claim = await settled(limited, "k1")

    assert (await limited.acquire(claim, SETTLE)).verdict == "granted"


async def test_a_first_one_whose_marker_is_gone_runs_at_its_time(limited: LimitedStore) -> None:
    store = limited.store
    _, admission = await limited.started("k1", SETTLE)
    await store.client.delete(store.keys.debounce("t"))

    assert await limited.acquire(await come_due(limited, "k1"), SETTLE) == admission


async def test_one_that_follows_a_first_one_that_has_failed_is_the_first(
    limited: LimitedStore,
) -> None:
    claim = await settled(limited, "k1")
    await limited.store.exchange(outcomes=[outcome("F", claim, b"", "ValueError: no")])

    assert (await limited.started("k2", SETTLE))[1].verdict == "later"


async def test_a_run_whose_quiet_time_was_served_needs_no_other_after_a_retry(
    limited: LimitedStore,
) -> None:
    store = limited.store
    claim = await settled(limited, "k1")
    await limited.acquire(claim, SETTLE)
    await store.exchange(outcomes=[outcome("A", claim, 0, 2)])
    again = await store.claim()
    await limited.started("k2", SETTLE)

    assert (await limited.acquire(again, SETTLE)).verdict == "granted"


async def test_one_that_comes_back_too_early_is_sent_away_again(limited: LimitedStore) -> None:
    _, admission = await limited.started("k1", SETTLE)
    early = await come_due(limited, "k1")

    assert await limited.acquire(early, SETTLE) == admission


async def test_cancelling_the_first_one_leaves_nobody_behind(limited: LimitedStore) -> None:
    store = limited.store
    await limited.started("k1", SETTLE)

    await store.transitions.cancel("k1")

    assert not await store.client.exists(store.keys.debounce("t"))
    assert (await store.state()).queue == {}


async def test_one_that_waits_for_a_slot_is_still_the_first(
    limited: LimitedStore,
) -> None:
    await limited.started("holder", slots("s"))
    claim = await settled(limited, "k1")
    assert (await limited.acquire(claim, SETTLE, slots("s"))).verdict == "waiting"

    assert (await limited.started("k2", SETTLE, slots("s")))[1].verdict == "dropped"
    assert (await limited.held()).lines == {"s": ["k1"]}


# RateLimit ----------------------------------------------------------------------------------


async def test_a_rate_lets_so_many_begin_and_drops_the_rest_if_told_to(
    limited: LimitedStore,
) -> None:
    verdicts = [(await limited.started(f"k{i}", DROPPING))[1].verdict for i in range(4)]

    assert verdicts == ["granted", "granted", "dropped", "dropped"]


async def test_what_is_over_the_rate_comes_when_the_window_has_room_one_after_the_other(
    limited: LimitedStore,
) -> None:
    store = limited.store
    began = list[int]()
    for i in range(2):
        await limited.started(f"k{i}", RATE)
        began.append(await store.now())

    whens = [(await limited.started(f"late{i}", RATE))[1].when for i in range(5)]

    windows = [(when - began[i % 2] + 1000) // MINUTE for i, when in enumerate(whens)]
    assert windows == [1, 1, 2, 2, 3]
    assert whens == sorted(whens)
    assert (await store.state()).faults() == []


async def test_who_was_told_a_time_runs_then_and_newcomers_come_after_it(
    limited: LimitedStore,
) -> None:
    store = limited.store
    one = LimitRequest(LimitKind.RATE, "t", 1, MINUTE)
    await limited.started("k1", one)
    await limited.started("k2", one)
    # The window of the first one is over.
    await store.client.delete(store.keys.rate("t"))

    assert (await limited.started("newcomer", one))[1].verdict == "later"
    assert (await limited.acquire(await come_due(limited, "k2"), one)).verdict == "granted"


async def test_tasks_that_all_come_late_still_keep_the_rate(limited: LimitedStore) -> None:
    # Nobody worked for a while, and everything that was told a time is due at once.
    one = LimitRequest(LimitKind.RATE, "t", 1, MINUTE)
    await limited.started("k0", one)
    for i in range(1, 4):
        await limited.started(f"k{i}", one)
    await limited.store.client.delete(limited.store.keys.rate("t"))

    verdicts = []
    for i in range(1, 4):
        claim = await come_due(limited, f"k{i}")
        verdicts.append((await limited.acquire(claim, one)).verdict)

    assert verdicts == ["granted", "later", "later"]
    whens = (await limited.store.state()).queue
    assert whens["k3"] - whens["k2"] >= MINUTE


async def test_the_time_of_a_cancelled_one_goes_to_the_next(limited: LimitedStore) -> None:
    store = limited.store
    one = LimitRequest(LimitKind.RATE, "t", 1, MINUTE)
    await limited.started("k1", one)
    _, second = await limited.started("k2", one)

    await store.transitions.cancel("k2")

    assert (await limited.started("k3", one))[1].when == second.when


async def test_of_two_rates_both_must_have_room(limited: LimitedStore) -> None:
    store = limited.store
    slow = LimitRequest(LimitKind.RATE, "slow", 1, 10 * MINUTE)
    _, granted = await limited.started("k1", RATE, slow)
    now = await store.now()
    _, later = await limited.started("k2", RATE, slow)

    assert granted.verdict == "granted"
    assert later.scope == "slow"
    assert later.when > now + 9 * MINUTE


async def test_who_is_over_the_rate_gives_the_slot_back_that_it_was_woken_with(
    limited: LimitedStore,
) -> None:
    store = limited.store
    one = LimitRequest(LimitKind.RATE, "t", 1, MINUTE)
    holder, _ = await limited.started("holder", slots("s"))
    await limited.started("k1", one, slots("s"))
    await limited.started("k2", slots("s"))
    await limited.started("other", one)

    await store.exchange(outcomes=[outcome("C", holder)])
    woken = await store.claim()

    assert (await limited.acquire(woken, one, slots("s"))).verdict == "later"
    assert (await limited.held()).holders == {"s": ["k2"]}


async def test_a_quiet_time_comes_before_the_rate(limited: LimitedStore) -> None:
    store = limited.store
    await limited.started("k1", SETTLE, LimitRequest(LimitKind.RATE, "r", 1, MINUTE))

    # Until it is quiet it has no claim to a time.
    assert not await store.client.exists(store.keys.rate_ahead("r"))


async def test_windows_leave_nothing_without_a_ttl(limited: LimitedStore) -> None:
    for i in range(3):
        await limited.started(f"k{i}", COOL, RATE, DROPPING)
    for i in range(3):
        await limited.started(f"r{i}", RATE)
    await limited.started("d", SETTLE)

    left = await left_behind(limited.store.client, limited.store.keys.prefix)
    assert {name for name in left if not name.startswith("task:")} == set()
