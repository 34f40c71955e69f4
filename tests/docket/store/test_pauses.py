"""Pauses in the store: what is parked, where it waits, and how it comes back."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from docket.store import scripts
from docket.store.pauses import MAX_PAUSES, Paused
from docket.store.retention import Retention
from docket.store.scan import clear
from tests.support.limits import LimitedStore, slots
from tests.support.store import PARKED, Store, outcome

pytestmark = pytest.mark.anyio

HOUR_US = 3_600_000_000


async def pause(store: Store, name: str = "f", **given: Any) -> Paused:
    options = {"kind": "at", "end": None, "reason": "", "by": "", "token": uuid4().hex, **given}
    return await store.transitions.pauses.pause(name, **options)


async def resume(store: Store, name: str = "f", **given: Any) -> bool:
    return await store.transitions.pauses.resume(name, **{"token": uuid4().hex, **given})


def line_of(store: Store, function: str) -> str:
    return store.keys.waiting(f"\x1fpaused:{function}")


async def claimed(store: Store, want: int = 10) -> list[str]:
    return [claim.key.decode() for claim in (await store.exchange(want=want)).claims]


async def end(store: Store, *, in_us: int = -1) -> None:
    """Let the pause end: long ago, or soon."""
    now = 1000 * await store.now()
    await pause(store, end=now + HOUR_US)
    packed = await store.client.hget(store.keys.pauses, "f")
    assert packed is not None
    at = str(now + in_us).encode()
    earlier = packed.replace(str(now + HOUR_US).encode(), at)
    await store.client.hset(store.keys.pauses, "f", earlier)


async def test_a_paused_task_is_parked_when_it_would_be_claimed(store: Store) -> None:
    await store.register("a")
    await store.add("k")
    await pause(store)

    assert await claimed(store) == []

    state = await store.state()
    assert state.records["k"]["state"] == "scheduled"
    assert state.queue == {"k": PARKED}
    assert (state.places, state.pending) == ({}, {})
    assert await store.client.zrange(line_of(store, "f"), 0, -1) == [b"k"]


async def test_the_others_are_claimed_though_some_are_parked_before_them(store: Store) -> None:
    await store.register("a")
    for n in range(50):
        await store.add(f"paused-{n}")
    await store.add("other", function="g")
    await pause(store)

    assert await claimed(store, want=1) == ["other"]


async def test_more_than_a_call_parks_is_left_to_the_next_one(store: Store) -> None:
    await store.register("a")
    for n in range(300):
        await store.add(f"paused-{n}")
    await store.add("other", function="g")
    await pause(store)

    replies = [await store.exchange(want=10)]
    while replies[-1].more:
        replies.append(await store.exchange(want=10))

    assert [len(reply.claims) for reply in replies] == [*[0] * (len(replies) - 1), 1]
    assert len(replies) >= 4


async def test_they_come_back_in_the_order_in_which_they_came(store: Store) -> None:
    await store.register("a")
    keys = [f"{n}" for n in range(30)]
    for key in keys:
        await store.add(key)
    await pause(store)
    await claimed(store, want=100)
    await store.add("new")

    await store.client.delete(store.keys.wakeup)
    assert await resume(store, batch=7)

    assert await store.client.llen(store.keys.wakeup) == 1
    assert await claimed(store, want=100) == [*keys, "new"]
    assert await store.client.exists(store.keys.pauses) == 0
    assert (await store.state()).faults() == []


async def test_one_under_which_a_process_died_comes_back_to_the_quarantine(store: Store) -> None:
    await store.register("a", "b")
    await store.add("k")
    await store.claim("a")
    await store.adopt("a")
    await pause(store)
    assert (await store.exchange("b", want=3)).claims == []

    await resume(store)

    assert [entry[0] for entry in (await store.state()).where("k")] == ["x"]
    assert (await store.claim("b")).deaths == 1


async def test_a_parked_task_gives_up_its_slot_and_keeps_its_place_in_line(store: Store) -> None:
    limited = LimitedStore(store)
    await store.register("a")
    running, _ = await limited.started("running", slots("one"))
    await limited.started("paused", slots("one"))
    await limited.started("next", slots("one"), function="g")
    await pause(store)

    # The one that comes first is admitted, and parked before it runs.
    ended = await store.exchange(outcomes=[outcome("C", running)], want=5)
    assert ended.claims == []
    following = await store.claim()

    assert following.key == b"next"
    held = await limited.held()
    assert held.holders == {"one": ["next"]}
    await resume(store)
    back = await store.claim()
    assert (await limited.acquire(back, slots("one"))).verdict == "waiting"


@pytest.mark.parametrize("way", ["cancel", "replace", "clear"])
async def test_a_parked_task_can_be_cancelled_replaced_and_cleared(store: Store, way: str) -> None:
    await store.register("a")
    await store.add("k")
    await pause(store)
    await claimed(store)

    match way:
        case "cancel":
            assert await store.transitions.cancel("k") == "removed"
        case "replace":
            await store.add("k", function="g", replace=1)
        case _:
            assert await _clear(store) == 1

    await resume(store)
    assert await claimed(store) == (["k"] if way == "replace" else [])
    state = await store.state()
    assert (state.faults(), state.queue) == ([], {})
    assert await store.client.exists(line_of(store, "f")) == 0


async def _clear(store: Store) -> int:
    return await clear(store.connections.pipeline, store.keys, Retention(timedelta(minutes=1)))


async def test_a_paused_docket_gives_out_nothing_and_takes_outcomes(store: Store) -> None:
    await store.register("a")
    await store.add("runs")
    await store.add("waits")
    running = await store.claim()
    await pause(store, "")

    reply = await store.exchange(outcomes=[outcome("C", running)], want=5, census=True)

    assert (reply.claims, reply.superseded, reply.left) == ([], [], 1)
    assert (await store.record("runs"))["state"] == "completed"
    assert (await store.record("waits"))["state"] == "queued"
    await store.client.delete(store.keys.wakeup)
    assert await resume(store, "")
    assert await store.client.llen(store.keys.wakeup) == 1
    assert await claimed(store) == ["waits"]


async def test_a_lost_claim_of_a_paused_function_is_taken_back_as_running(store: Store) -> None:
    await store.register("a")
    await store.add("k")
    await store.claim()
    await pause(store)
    epoch = await store.transitions.raise_epoch("a")

    claims = await store.transitions.reclaim("a", epoch, [])

    assert [claim.key for claim in claims] == [b"k"]


# Ends -------------------------------------------------------------------------------------------


async def test_a_pause_whose_end_has_passed_holds_nothing(store: Store) -> None:
    await store.register("a")
    await store.add("k")
    await end(store)

    assert await claimed(store) == ["k"]
    assert await store.transitions.pauses.in_effect() == {}


async def test_the_steward_is_told_of_an_end_and_brings_back_what_was_parked(store: Store) -> None:
    await store.register("a")
    await store.add("k")
    await end(store, in_us=HOUR_US // 60)
    await claimed(store)
    _, pause_seconds = await store.transitions.promote()
    assert pause_seconds is not None
    assert 0 < pause_seconds <= 60

    await end(store)
    await store.client.delete(store.keys.wakeup)
    _, pause_seconds = await store.transitions.promote()

    assert pause_seconds is None
    assert await store.client.llen(store.keys.wakeup) == 1
    assert await claimed(store) == ["k"]
    assert await store.client.exists(store.keys.pauses) == 0


async def test_the_steward_brings_back_so_many_a_call_and_comes_again_at_once(store: Store) -> None:
    await store.register("a")
    for n in range(300):
        await store.add(f"{n}")
    await pause(store)
    while (await store.exchange(want=10)).more:
        pass
    await end(store)

    _, pause_seconds = await store.transitions.promote()
    assert pause_seconds == 0
    assert len((await store.state()).queue) == 300 - 64
    for _ in range(4):
        await store.transitions.promote()

    assert (await store.state()).queue == {}
    assert await store.transitions.promote() == (0, None)


async def test_what_a_dead_caller_had_begun_to_resume_the_steward_resumes(store: Store) -> None:
    await store.register("a")
    await store.add("1")
    await store.add("2")
    await pause(store)
    await claimed(store)

    assert await store.connections.pipeline.call(
        scripts.RESUME,
        [*store.keys.places, store.keys.pauses, store.keys.asked("t")],
        [store.keys.prefix, "f", 1, 1000],
    ) == [1, 1, []]
    assert await store.transitions.pauses.in_effect() == {}
    await store.transitions.promote()

    assert await claimed(store) == ["1", "2"]


# Requests that come again -----------------------------------------------------------------------


async def test_a_pause_that_arrives_once_more_does_not_pause_what_was_resumed(store: Store) -> None:
    assert await pause(store, token="t") == Paused("paused", None)
    await resume(store)

    assert await pause(store, token="t") == Paused("paused", None)

    assert await store.transitions.pauses.in_effect() == {}


async def test_a_resumption_that_arrives_once_more_ends_no_other_pause(store: Store) -> None:
    await pause(store, token="1")
    assert await resume(store, token="r")
    await pause(store, token="2", reason="again")

    assert await resume(store, token="r")

    assert [row.reason for row in (await store.transitions.pauses.in_effect()).values()] == [
        "again"
    ]


async def test_what_is_remembered_of_a_request_expires(store: Store) -> None:
    await pause(store, token="t")

    assert 0 < await store.client.pttl(store.keys.asked("t")) <= 600_000


# Bad input --------------------------------------------------------------------------------------


async def test_an_end_that_has_passed_changes_nothing(store: Store) -> None:
    await pause(store, token="1", reason="before")

    for given in (
        {"end": 1000 * await store.now() - 1},
        {"end": 0},
        {"kind": "for", "end": 0},
        {"kind": "for", "end": -5},
    ):
        assert await pause(store, reason="after", **given) == Paused("past", None)

    assert [row.reason for row in (await store.transitions.pauses.in_effect()).values()] == [
        "before"
    ]


async def test_there_is_a_most_of_them_and_those_that_are_there_may_be_changed(
    store: Store,
) -> None:
    for n in range(MAX_PAUSES):
        await pause(store, f"f{n}")

    assert (await pause(store, "one more")).verdict == "full"
    assert (await pause(store, "f0", reason="changed")).verdict == "paused"
    assert len(await store.transitions.pauses.in_effect()) == MAX_PAUSES


# What somebody else has done --------------------------------------------------------------------


async def test_an_overwritten_key_is_set_aside_and_work_goes_on(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await store.register("a")
    await store.client.lpush(store.keys.pauses, "foreign")

    await pause(store)

    assert f"{store.keys.pauses} was overwritten by somebody with a list" in caplog.text
    assert list(await store.transitions.pauses.in_effect()) == ["f"]


@pytest.mark.parametrize("garbage", [b"\xc1", b"\x93\xa1a\xa1b\xa1c", b"\x94\x01\x02\x03\x04", b""])
async def test_a_pause_that_is_none_of_ours_holds_nothing_and_is_removed(
    store: Store, caplog: pytest.LogCaptureFixture, garbage: bytes
) -> None:
    await store.register("a")
    await store.add("k")
    await store.client.hset(store.keys.pauses, "f", garbage)

    assert await claimed(store) == ["k"]
    assert await store.transitions.pauses.in_effect() == {}
    await store.transitions.promote()

    assert "field f is none of ours" in caplog.text
    assert await store.client.exists(store.keys.pauses) == 0


async def test_what_was_parked_comes_back_if_somebody_deletes_the_pauses(store: Store) -> None:
    await store.register("a")
    await store.add("k")
    await pause(store)
    await claimed(store)
    await store.client.delete(store.keys.pauses)

    await store.transitions.promote()

    assert await claimed(store) == ["k"]
    assert await store.client.exists(line_of(store, "f")) == 0


async def test_what_was_parked_is_resumed_by_hand_if_somebody_deletes_its_pause(
    store: Store,
) -> None:
    await store.register("a")
    await store.add("k")
    await pause(store)
    await claimed(store)
    await store.client.delete(store.keys.pauses)

    assert not await resume(store)

    assert await claimed(store) == ["k"]
