"""Tasks whose entries somebody else left behind, or took away: they are delivered all the same."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, cast

import pytest

from docket.store.acts import Acts
from docket.store.connection.pipeline import Pipeline
from docket.store.keys import WORKER_GROUP
from docket.store.recovery import Recovery
from docket.store.retention import Retention
from tests.support.store import Store, outcome

pytestmark = pytest.mark.anyio

LAST = f"{2**64 - 1}-{2**64 - 1}"
KEYS = [str(i) for i in range(5)]


async def set_to_the_highest_id(store: Store) -> None:
    await store.client.xgroup_setid(store.keys.stream, WORKER_GROUP, LAST)


def counting(store: Store) -> tuple[Recovery, list[int]]:
    """A recovery, and how many tasks each of its calls has delivered."""
    pipeline, moved = store.connections.pipeline, list[int]()

    class Counting:
        async def call(self, *of: Any) -> Any:
            reply = await pipeline.call(*of)
            moved.append(reply[0])
            return reply

    recovery = Recovery(cast("Pipeline", Counting()), store.keys, Retention(timedelta(1)))
    return recovery, moved


async def set_to_the_end(store: Store) -> None:
    await store.client.xgroup_setid(store.keys.stream, WORKER_GROUP, "$")


async def make_a_group_at_the_end(store: Store) -> None:
    await store.client.xgroup_destroy(store.keys.stream, WORKER_GROUP)
    await store.client.xgroup_create(store.keys.stream, WORKER_GROUP, "$")


async def acknowledge_what_was_never_handled(store: Store) -> None:
    """Read by a stranger, who has acknowledged it and left it there."""
    stream = store.keys.stream
    read = await store.client.xreadgroup(WORKER_GROUP, "stranger", {stream: ">"})
    await store.client.xack(stream, WORKER_GROUP, *(entry for entry, _ in read[0][1]))


@pytest.mark.parametrize(
    "interfere",
    [
        set_to_the_highest_id,
        set_to_the_end,
        make_a_group_at_the_end,
        acknowledge_what_was_never_handled,
    ],
)
async def test_what_was_left_behind_is_delivered_in_its_order_and_what_is_added_later_at_once(
    store: Store, interfere: Callable[[Store], Awaitable[None]]
) -> None:
    await store.register("a")
    for key in KEYS:
        await store.add(key)
    await interfere(store)
    assert (await store.exchange(want=10)).claims == []

    assert await store.transitions.recovery.recover() == len(KEYS)

    await store.add("later")
    claimed = [claim.key.decode() for claim in (await store.exchange(want=10)).claims]
    assert claimed == [*KEYS, "later"]
    assert (await store.state()).faults() == []
    assert await store.transitions.recovery.recover() == 0


async def test_a_group_that_is_ahead_of_its_stream_is_told_of(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await store.register("a")
    await store.add()
    await set_to_the_highest_id(store)
    await store.transitions.recovery.recover()
    told = f"The group of {store.keys.stream} said that it had delivered what is not there yet"
    assert told in caplog.text


async def test_many_are_moved_in_calls_that_are_bounded(store: Store) -> None:
    await store.register("a")
    await asyncio.gather(*(store.add(str(i)) for i in range(1200)))
    await set_to_the_end(store)
    recovery, moved = counting(store)
    assert await recovery.recover() == 1200
    assert max(moved) == 100


async def test_where_nothing_was_left_behind_one_call_looks_at_every_stream(store: Store) -> None:
    await store.register("a")
    await asyncio.gather(*(store.add(str(i)) for i in range(1200)))
    await store.claim()
    recovery, moved = counting(store)
    assert await recovery.recover() == 0
    assert moved == [0]


async def test_every_stream_is_looked_through_although_a_call_ends_in_the_first(
    store: Store,
) -> None:
    await store.register("a")
    for key in ("requeued", *(str(i) for i in range(150))):
        await store.add(key)
    await store.exchange(outcomes=[outcome("H", await store.claim())])
    for name in (store.keys.stream, store.keys.redelivery):
        await store.client.xgroup_setid(name, WORKER_GROUP, "$")
    recovery, moved = counting(store)
    assert await recovery.recover() == 151
    assert moved == [100, 51]


async def test_entries_that_lead_nowhere_are_removed_and_those_of_workers_are_left(
    store: Store,
) -> None:
    await store.register("a")
    await store.add("runs")
    run = await store.claim()
    await store.client.xadd(store.keys.stream, {"k": "nobody's"})
    await store.client.xadd(store.keys.stream, {"other": ""})
    await set_to_the_end(store)

    assert await store.transitions.recovery.recover() == 0

    state = await store.state()
    assert list(state.places.values()) == ["runs"]
    assert state.faults() == []
    assert (await store.exchange(outcomes=[outcome("C", run)])).superseded == []


async def test_a_run_that_was_acknowledged_by_a_stranger_is_its_workers_until_that_is_gone(
    store: Store,
) -> None:
    await store.register("a", "b")
    await store.add()
    run = await store.claim("a")
    await store.client.xack(store.keys.stream, WORKER_GROUP, run.entry[1:])
    assert await store.transitions.recovery.recover() == 0

    await store.adopt("a", "nobody")
    assert (await store.record())["state"] == "running", "an adoption sees what is pending"
    assert await store.transitions.recovery.recover() == 1
    assert (await store.claim("b")).came_from == b"a"


async def test_a_run_whose_group_was_destroyed_goes_back_to_its_worker(store: Store) -> None:
    await store.register("a", "b")
    for key in ("1", "2"):
        await store.add(key)
    kept, lost = (await store.exchange("a", want=2)).claims
    await store.client.xgroup_destroy(store.keys.stream, WORKER_GROUP)

    assert (await store.exchange("b", want=2)).claims == []

    state = await store.state()
    assert state.faults() == []
    assert set(state.pending.values()) == {"a"}
    await store.exchange("a", [outcome("C", kept)])
    await store.adopt("a", "nobody")
    assert (await store.claim("b")).key == lost.key


async def test_a_run_whose_group_was_destroyed_and_whose_worker_died_goes_to_another(
    store: Store,
) -> None:
    await store.register("a", "b")
    await store.add()
    await store.claim("a")
    await store.client.xgroup_destroy(store.keys.stream, WORKER_GROUP)
    await store.adopt("a", "nobody")

    assert (await store.exchange("b", want=1)).claims == []
    assert (await store.claim("b")).came_from == b"a"
    assert (await store.state()).faults() == []


@pytest.mark.parametrize("of", ["stream", "redelivery", "quarantine"])
async def test_a_stream_whose_ids_are_used_up_is_set_aside_and_what_waits_in_it_is_delivered(
    store: Store, of: str, caplog: pytest.LogCaptureFixture
) -> None:
    await store.register("a")
    await store.add("k")
    run = await store.claim()
    if of != "stream":
        await store.exchange(outcomes=[outcome("H", run)])
    if of == "quarantine":
        await store.claim()
        await store.adopt("a", "everyone")
        await store.register("a")
    name = getattr(store.keys, of)
    await store.add("waits")
    await store.client.xadd(name, {"k": "evil"}, id=LAST)
    delivered = await store.transitions.recovery.recover()

    assert f"The ids of {name} are used up" in caplog.text
    assert delivered == 1
    claimed = [*(await store.exchange(want=5)).claims, *(await store.exchange(want=5)).claims]
    expected = {"stream": {b"waits"}}.get(of, {b"k", b"waits"})
    assert {claim.key for claim in claimed} == expected
    if of == "stream":
        # It runs, and its worker hands it in as ever.
        await store.exchange(outcomes=[outcome("C", run)])
        assert (await store.record("k"))["state"] == "completed"
        assert await store.transitions.recovery.recover() == 0
    assert not await store.client.exists(store.keys.exhausted(name))


async def test_whoever_appends_to_a_stream_whose_ids_are_used_up_loses_nothing(
    store: Store,
) -> None:
    await store.register("a")
    await store.add("due", delay_seconds=3600)
    await store.add("moved")
    await store.claim()
    await store.rewind_queue()
    for name in store.keys.places[:3]:
        await store.client.xadd(name, {"k": "evil"}, id=LAST)

    await store.add("added")
    await store.transitions.promote()
    await store.adopt("a", "everyone")
    assert await store.transitions.recovery.recover() == 1, "the run of the dead worker"

    await store.register("b")
    claims = [
        *(await store.exchange("b", want=9)).claims,
        *(await store.exchange("b", want=9)).claims,
    ]
    assert {claim.key for claim in claims} == {b"due", b"moved", b"added"}
    assert (await store.state()).faults() == []
    assert not await store.client.keys(store.keys.key("exhausted:*"))


# By whoever adds it again ----------------------------------------------------------------------


async def test_a_task_whose_entry_was_trimmed_is_put_back_when_it_is_added_again(
    store: Store,
) -> None:
    await store.register("a")
    await store.add()
    await store.client.xtrim(store.keys.stream, maxlen=0)
    assert (await store.exchange(want=1)).claims == []

    assert (await store.add()).disposition == "already"

    assert (await store.state()).faults() == []
    assert (await store.claim()).key == b"k"


async def test_a_run_without_an_entry_is_put_back_only_if_its_worker_is_gone(store: Store) -> None:
    await store.register("a", "b")
    await store.add()
    await store.claim("a")
    await store.client.xtrim(store.keys.stream, maxlen=0)
    await store.add()
    assert (await store.exchange("b", want=1)).claims == []

    await store.adopt("a", "nobody")
    await store.add()
    assert (await store.claim("b")).came_from == b"a"


async def test_a_task_that_the_queue_has_lost_is_put_back_when_it_is_added_again(
    store: Store,
) -> None:
    await store.add(delay_seconds=3600)
    before = await store.state()
    await store.client.delete(store.keys.queue)

    assert (await store.add()).disposition == "already"

    assert (await store.state()).queue == before.queue


@pytest.mark.parametrize("entry", [None, b"", b"x", b"z1-1"])
async def test_a_record_that_names_no_entry_is_put_back_when_it_is_added_again(
    store: Store, entry: bytes | None
) -> None:
    await store.register("a")
    await store.add()
    await store.client.xtrim(store.keys.stream, maxlen=0)
    if entry is None:
        await store.client.hdel(store.keys.record("k"), "entry")
    else:
        await store.client.hset(store.keys.record("k"), "entry", entry)

    assert (await store.add()).disposition == "already"

    assert (await store.claim()).key == b"k"


# By whoever acts on it by its key ---------------------------------------------------------------


async def test_a_task_whose_entry_was_trimmed_is_put_back_when_it_is_to_run_now(
    store: Store,
) -> None:
    await store.register("a", "b")
    await store.add()
    await store.client.xtrim(store.keys.stream, maxlen=0)
    acts = Acts(store.connections.pipeline, store.keys)

    assert await acts.move([("k", 0)], None) == ["ready"]
    assert (await store.claim("a")).key == b"k"

    await store.client.xtrim(store.keys.redelivery, maxlen=0)
    assert await acts.move([("k", 0)], None) == ["running"]
    assert (await store.exchange("b", want=1)).claims == [], "its worker lives"
    await store.adopt("a", "nobody")
    assert await acts.move([("k", 0)], None) == ["running"]
    assert (await store.claim("b")).key == b"k"


async def test_a_run_whose_worker_and_entry_are_gone_is_cancelled_at_once(store: Store) -> None:
    await store.register("a")
    await store.add()
    await store.claim("a")
    await store.client.xtrim(store.keys.stream, maxlen=0)
    assert await store.transitions.cancel("k") == "signalled", "its worker lives"

    await store.adopt("a", "nobody")
    assert await store.transitions.cancel("k") == "removed"

    assert (await store.state()).faults() == []


@pytest.mark.parametrize("entry", [None, b"", b"x"])
async def test_a_record_that_names_no_entry_can_be_cancelled(
    store: Store, entry: bytes | None
) -> None:
    await store.add()
    if entry is None:
        await store.client.hdel(store.keys.record("k"), "entry")
    else:
        await store.client.hset(store.keys.record("k"), "entry", entry)

    assert await store.transitions.cancel("k") == "removed"
