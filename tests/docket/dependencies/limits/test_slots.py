"""Slots by the scripts: who holds them, who waits, and what frees them."""

import re

import pytest

from docket.store import scripts
from docket.store.limits import LimitKind, LimitRequest
from tests.support.limits import LimitedStore, left_behind, slots
from tests.support.store import outcome

pytestmark = pytest.mark.anyio

ONE = slots("one")
TWO = slots("two")
ENDS = ["C", "F", "X", "H", "A"]


async def nothing_left(limited: LimitedStore) -> bool:
    held = await limited.held()
    return held.holders == {} and held.lines == {} and held.holds == {}


async def test_the_first_gets_the_slot_and_the_next_one_waits_in_line(
    limited: LimitedStore,
) -> None:
    first, granted = await limited.started("k1", ONE)
    _, waiting = await limited.started("k2", ONE)

    assert granted.verdict == "granted"
    assert waiting == ("waiting", "one", 0)
    held = await limited.held()
    assert held.holders == {"one": ["k1"]}
    assert held.lines == {"one": ["k2"]}
    assert held.holds == {first.entry.decode(): ["one"]}
    record = await limited.store.record("k2")
    assert record["state"] == "scheduled"
    assert "entry" not in record
    assert "worker" not in record
    assert (await limited.store.state()).pending == {first.entry.decode(): "a"}


async def test_who_waits_never_comes_due_by_itself(limited: LimitedStore) -> None:
    await limited.started("k1", ONE)
    await limited.started("k2", ONE)

    promoted, _ = await limited.store.transitions.promote()

    assert promoted == 0
    # Later than any instant that a datetime can name: nobody's `when` can be taken for it.
    assert (await limited.store.state()).queue == {"k2": 253402300800000}


@pytest.mark.parametrize("end", ENDS)
async def test_every_end_of_a_run_gives_its_slot_to_the_next_in_line(
    limited: LimitedStore, end: str
) -> None:
    store = limited.store
    holder, _ = await limited.started("k1", ONE)
    await limited.started("k2", ONE)
    await limited.started("k3", ONE)

    await store.exchange(outcomes=[outcome(end, holder, 60_000_000 if end == "A" else "", 2)])

    held = await limited.held()
    assert held.holders == {"one": ["k2"]}
    assert held.lines == {"one": ["k3"]}
    woken = await store.record("k2")
    assert woken["state"] == "queued"
    assert (await store.state()).places[woken["entry"]] == "k2"
    assert woken["entry"].startswith("f")
    # What was requeued comes first, and stands in line behind what was admitted.
    claims = (await store.exchange("b", want=2)).claims
    verdicts = {c.key: (await limited.acquire(c, ONE, consumer="b")).verdict for c in claims}
    assert verdicts.pop(b"k2") == "granted"
    assert verdicts == ({b"k1": "waiting"} if end == "H" else {})


@pytest.mark.parametrize("blame", ["everyone", "nobody"])
async def test_the_death_of_a_worker_frees_its_slots(limited: LimitedStore, blame: str) -> None:
    store = limited.store
    await limited.started("k1", ONE)
    await limited.started("k2", ONE, consumer="b")

    await store.adopt("a", blame)

    held = await limited.held()
    assert held.holders == {"one": ["k2"]}
    assert held.lines == {}
    assert (await store.record("k1"))["state"] == "queued"
    # Redelivered, it comes before those who were added after it.
    claims = [await store.claim("b"), await store.claim("b")]
    assert sorted(c.key for c in claims) == [b"k1", b"k2"]
    again = next(c for c in claims if c.key == b"k1")
    assert (await limited.acquire(again, ONE, consumer="b")).verdict == "waiting"
    await limited.started("k3", ONE, consumer="b")
    assert (await limited.held()).lines == {"one": ["k1", "k3"]}


async def test_a_lease_that_was_lost_frees_its_slots(limited: LimitedStore) -> None:
    await limited.started("k1", ONE)
    await limited.started("k2", ONE)

    await limited.store.sweep_now()

    assert (await limited.held()).holders == {"one": ["k2"]}


async def test_the_slot_of_a_replaced_run_is_kept_until_that_run_ends(
    limited: LimitedStore,
) -> None:
    store = limited.store
    old, _ = await limited.started("k1", ONE)
    await store.add("k1", replace=1)
    new = await store.claim("b")
    assert (await limited.acquire(new, ONE, consumer="b")).verdict == "waiting"
    assert (await limited.held()).holders == {"one": ["k1"]}

    await store.exchange(outcomes=[outcome("C", old)])

    new = await store.claim("b")
    assert new.key == b"k1"
    assert (await limited.acquire(new, ONE, consumer="b")).verdict == "granted"
    await store.exchange("b", [outcome("C", new)])
    assert await nothing_left(limited)


async def test_the_slot_of_a_replaced_run_is_freed_by_the_death_of_its_worker(
    limited: LimitedStore,
) -> None:
    await limited.started("k1", ONE)
    await limited.store.add("k1", replace=1, delay_seconds=60)
    await limited.started("k2", ONE, consumer="b")

    await limited.store.adopt("a")

    assert (await limited.held()).holders == {"one": ["k2"]}


async def test_asking_again_after_a_lost_reply_changes_nothing(limited: LimitedStore) -> None:
    claim, _ = await limited.started("k1", ONE)
    blocked, _ = await limited.started("k2", ONE)
    before = await limited.store.state(), await limited.held()

    assert (await limited.acquire(claim, ONE)).verdict == "granted"
    assert (await limited.acquire(blocked, ONE)).verdict == "superseded"

    assert (await limited.store.state(), await limited.held()) == before


async def test_a_run_that_is_not_ours_any_more_gets_nothing(limited: LimitedStore) -> None:
    store = limited.store
    await store.add("k1")
    claim = await store.claim("a")
    await store.adopt("a")

    assert (await limited.acquire(claim, ONE)).verdict == "superseded"

    assert await nothing_left(limited)


async def test_a_task_that_was_cancelled_before_it_was_admitted_ends_as_cancelled(
    limited: LimitedStore,
) -> None:
    await limited.store.add("k1")
    claim = await limited.store.claim()
    assert await limited.store.transitions.cancel("k1") == "signalled"

    assert (await limited.acquire(claim, ONE)).verdict == "cancelled"

    assert (await limited.store.record("k1"))["state"] == "cancelled"
    assert (await limited.store.state()).faults() == []
    assert await nothing_left(limited)


async def test_cancelling_who_waits_lets_those_behind_it_move_up(limited: LimitedStore) -> None:
    store = limited.store
    holder, _ = await limited.started("k1", ONE)
    await limited.started("k2", ONE)
    await limited.started("k3", ONE)

    assert await store.transitions.cancel("k2") == "removed"
    await store.exchange(outcomes=[outcome("C", holder)])

    assert (await store.record("k2"))["state"] == "cancelled"
    assert (await limited.held()).holders == {"one": ["k3"]}


async def test_cancelling_who_was_woken_and_not_claimed_gives_the_slot_on(
    limited: LimitedStore,
) -> None:
    store = limited.store
    holder, _ = await limited.started("k1", ONE)
    await limited.started("k2", ONE)
    await limited.started("k3", ONE)
    await store.exchange(outcomes=[outcome("C", holder)])
    await store.client.delete(store.keys.wakeup)

    assert await store.transitions.cancel("k2") == "removed"

    assert (await limited.held()).holders == {"one": ["k3"]}
    assert (await store.state()).token


async def test_replacing_who_waits_takes_it_out_of_the_line(limited: LimitedStore) -> None:
    store = limited.store
    holder, _ = await limited.started("k1", ONE)
    await limited.started("k2", ONE)
    await limited.started("k3", ONE)

    await store.add("k2", replace=1, delay_seconds=60)

    assert (await limited.held()).lines == {"one": ["k3"]}
    await store.exchange(outcomes=[outcome("C", holder)])
    assert (await limited.held()).holders == {"one": ["k3"]}
    assert (await store.state()).queue.keys() == {"k2"}


async def test_adding_a_key_that_waits_keeps_what_is_there(limited: LimitedStore) -> None:
    await limited.started("k1", ONE)
    await limited.started("k2", ONE)

    assert (await limited.store.add("k2")).disposition == "already"

    assert (await limited.held()).lines == {"one": ["k2"]}


async def test_several_slots_are_taken_together_or_not_at_all(limited: LimitedStore) -> None:
    await limited.started("k1", TWO)

    _, admission = await limited.started("k2", ONE, TWO)

    assert admission == ("waiting", "two", 0)
    assert (await limited.held()).holders == {"two": ["k1"]}
    # It stands in line only where it is blocked: whoever wants the other slot may have it.
    assert (await limited.held()).lines == {"two": ["k2"]}
    assert (await limited.started("k3", ONE))[1].verdict == "granted"


async def test_who_wants_more_is_not_overtaken_for_ever(limited: LimitedStore) -> None:
    store = limited.store
    one, _ = await limited.started("has one", ONE)
    two, _ = await limited.started("has two", TWO)
    await limited.started("wants both", ONE, TWO)
    await limited.started("wants one", ONE)
    assert (await limited.held()).lines == {
        "one": ["wants both", "wants one"],
        "two": ["wants both"],
    }

    await store.exchange(outcomes=[outcome("C", one)])
    # The slot is free, and kept for who was first.
    assert (await limited.held()).holders == {"two": ["has two"]}
    assert (await limited.started("newcomer", ONE))[1].verdict == "waiting"

    await store.exchange(outcomes=[outcome("C", two)])

    held = await limited.held()
    assert held.holders == {"one": ["wants both"], "two": ["wants both"]}
    assert held.lines == {"one": ["wants one", "newcomer"]}


async def test_who_is_blocked_elsewhere_holds_up_only_as_many_slots_as_it_needs(
    limited: LimitedStore,
) -> None:
    store = limited.store
    pair = slots("pair", 2)
    first, _ = await limited.started("first", pair)
    second, _ = await limited.started("second", pair)
    await limited.started("has two", TWO)
    await limited.started("wants both", pair, TWO)
    await limited.started("wants one", pair)

    await store.exchange(outcomes=[outcome("C", first), outcome("C", second)])

    assert (await limited.held()).holders == {"two": ["has two"], "pair": ["wants one"]}


async def test_tasks_that_want_two_slots_in_different_order_do_not_block_each_other(
    limited: LimitedStore,
) -> None:
    store = limited.store
    first, admission = await limited.started("k1", ONE, TWO)
    assert admission.verdict == "granted"
    assert (await limited.started("k2", TWO, ONE))[1].verdict == "waiting"
    await limited.started("k3", ONE, TWO)
    done = [b"k1"]

    await store.exchange(outcomes=[outcome("C", first)])
    while claims := (await store.exchange(want=5)).claims:
        for claim in claims:
            assert (await limited.acquire(claim, ONE, TWO)).verdict == "granted"
            done.append(claim.key)
            await store.exchange(outcomes=[outcome("C", claim)])

    assert done == [b"k1", b"k2", b"k3"]
    assert await nothing_left(limited)


async def test_a_woken_task_whose_limits_changed_meanwhile_gives_back_what_it_was_given(
    limited: LimitedStore,
) -> None:
    store = limited.store
    holder, _ = await limited.started("k1", ONE)
    await limited.started("k2", ONE)
    await limited.started("k3", ONE)
    await store.exchange(outcomes=[outcome("C", holder)])
    woken = await store.claim()

    assert (await limited.acquire(woken, TWO)).verdict == "granted"

    assert (await limited.held()).holders == {"one": ["k3"], "two": ["k2"]}


async def test_a_retry_queues_behind_those_who_wait(limited: LimitedStore) -> None:
    # With its old place it would come first again and again, and nobody else ever.
    store = limited.store
    failing, _ = await limited.started("failing", ONE)
    await limited.started("k2", ONE)
    await limited.started("k3", ONE)

    await store.exchange(outcomes=[outcome("A", failing, 0, 2)])
    claims = (await store.exchange(want=2)).claims
    for claim in claims:
        await limited.acquire(claim, ONE)

    assert [c.key for c in claims] == [b"k2", b"failing"]
    assert (await limited.held()).lines == {"one": ["k3", "failing"]}


async def test_a_quarantined_task_is_admitted_into_the_quarantine(limited: LimitedStore) -> None:
    store = limited.store
    await limited.started("suspect", ONE)
    await store.adopt("a")
    await store.add("holder")
    holder = await store.claim("b", may_take_quarantined=False)
    await limited.acquire(holder, ONE, consumer="b")
    quarantined = await store.claim("b")
    assert (await limited.acquire(quarantined, ONE, consumer="b")).verdict == "waiting"

    await store.exchange("b", [outcome("C", holder)])

    assert (await store.record("suspect"))["entry"].startswith("x")
    assert (await limited.held()).holders == {"one": ["suspect"]}


async def test_a_thousand_who_wait_on_one_slot_run_one_by_one_and_leave_nothing_behind(
    limited: LimitedStore,
) -> None:
    store = limited.store
    limit_request = LimitRequest(LimitKind.SLOTS, "one", 1)
    for i in range(1000):
        await store.add(f"k{i:04}")
    order = list[bytes]()
    running = list[bytes]()
    ended = list[tuple[object, ...]]()
    while claims := (await store.exchange(outcomes=ended, want=100)).claims:
        ended = []
        for claim in claims:
            if (await limited.acquire(claim, limit_request)).verdict == "granted":
                running.append(claim.key)
                order.append(claim.key)
                ended.append(outcome("C", claim))
        assert len(ended) <= 1
    await store.exchange(outcomes=ended)

    assert order == [f"k{i:04}".encode() for i in range(1000)]
    assert await nothing_left(limited)
    assert await left_behind(store.client, store.keys.prefix) <= {"watch"}


def test_every_script_that_ends_an_entry_releases_its_slots() -> None:
    all_scripts = [s for s in vars(scripts).values() if isinstance(s, scripts.Script)]
    ending = [s for s in all_scripts if re.search(r"'XDEL', (stream|STREAMS)", s.source)]
    assert {"exchange", "adopt", "sweep", "cancel"} <= {script.name for script in ending}
    for script in ending:
        assert "limiting().release(" in script.source, script.name
