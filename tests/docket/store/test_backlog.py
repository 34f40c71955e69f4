"""The backlog: each task counted once, in its state, and the age of the first that waits."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from msgspec.msgpack import encode as packb

from docket.backlog import Backlog
from docket.store.backlog import backlog
from tests.support.store import Store, outcome

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)
NOTHING = Backlog(0, 0, 0, 0, 0, None, None, 0, 0, 0)


async def read(store: Store) -> Backlog:
    return await backlog(store.connections.pipeline, store.keys, MINUTE, 5.0)


async def test_a_docket_that_nobody_has_used_has_no_backlog(store: Store) -> None:
    assert await read(store) == NOTHING


async def test_each_task_counts_once_in_its_state(store: Store) -> None:
    await store.register("a")
    await store.add("later", delay_seconds=3600)
    for number in range(3):
        await store.add(f"ready-{number}")
    claim = await store.claim()

    found = await read(store)

    assert (found.scheduled, found.queued, found.running) == (1, 2, 1)
    assert found.workers == 1
    assert found.lateness_seconds == 0
    assert found.oldest_ready_seconds is not None

    await store.exchange(outcomes=[outcome("C", claim)])
    found = await read(store)
    assert (found.queued, found.running) == (2, 0)


async def test_before_the_first_worker_everything_that_is_ready_is_queued(store: Store) -> None:
    await asyncio.gather(*(store.add(f"k{number}") for number in range(3)))

    found = await read(store)

    assert (found.queued, found.running, found.workers) == (3, 0, 0)


async def test_the_oldest_ready_task_is_the_first_that_nobody_has_claimed(store: Store) -> None:
    await store.register("a")
    now = await store.now()
    client, stream = store.client, store.keys.stream
    for minutes, key in ((3, "claimed"), (2, "oldest"), (1, "newest")):
        await client.xadd(stream, {"k": key}, id=f"{now - minutes * 60_000}-0")
    await client.xreadgroup("workers", "a", {stream: ">"}, count=1)

    found = await read(store)

    assert (found.queued, found.running) == (2, 1)
    assert found.oldest_ready_seconds == pytest.approx(120, abs=15)


@pytest.mark.parametrize("stream", ["redelivery", "quarantine"])
async def test_what_is_redelivered_counts_as_ready_too(store: Store, stream: str) -> None:
    await store.register("a")
    old = await store.now() - 90_000
    await store.client.xadd(getattr(store.keys, stream), {"k": "k"}, id=f"{old}-0")

    found = await read(store)

    assert found.queued == 1
    assert found.oldest_ready_seconds == pytest.approx(90, abs=15)


async def test_a_task_that_is_overdue_is_late(store: Store) -> None:
    await store.add(delay_seconds=3600)
    await store.client.zadd(store.keys.queue, {"k": await store.now() - 30_000})

    found = await read(store)

    assert found.scheduled == 1
    assert found.lateness_seconds == pytest.approx(30, abs=15)


async def test_a_task_that_waits_for_a_slot_is_neither_scheduled_nor_late(store: Store) -> None:
    never = 253402300800000
    await store.client.zadd(store.keys.queue, {"blocked": never, "blocked too": never})

    found = await read(store)

    assert (found.scheduled, found.waiting, found.lateness_seconds) == (0, 2, None)


async def test_what_a_pause_has_parked_is_told_apart_from_what_waits_for_a_slot(
    store: Store,
) -> None:
    never = 253402300800000
    await store.client.zadd(
        store.keys.queue, {"blocked": never, "one": never + 1, "two": never + 1}
    )

    found = await read(store)

    assert (found.scheduled, found.waiting, found.paused) == (0, 1, 2)


async def test_a_worker_whose_heartbeat_stopped_is_none(store: Store) -> None:
    await store.register("a", "b")
    await store.client.zadd(store.keys.workers, {"b": await store.now() - 61_000})

    assert (await read(store)).workers == 1


async def test_pauses_and_failures_that_are_kept_are_counted(store: Store) -> None:
    await store.client.hset(store.keys.pauses, "f", b"")
    await store.client.zadd(store.keys.failed, {"one": 1, "two": 2})

    found = await read(store)

    assert (found.pauses, found.failed_kept) == (1, 2)


async def test_keys_that_somebody_overwrote_count_as_empty(store: Store) -> None:
    keys = store.keys
    for name in (*keys.places[:4], keys.workers, keys.pauses, keys.failed):
        await store.client.set(name, "overwritten")

    assert await read(store) == NOTHING


async def test_it_takes_no_longer_with_many_tasks(store: Store) -> None:
    """Under a millisecond by the server's own log of what was slow."""
    await store.register("a")
    look = store.client.pipeline(transaction=False)
    for start in range(0, 50_000, 5_000):
        look.zadd(store.keys.queue, {f"k{start + at}": 10**12 + at for at in range(5_000)})
    for _ in range(20_000):
        look.xadd(store.keys.stream, {"k": "k"})
    await look.execute()
    await store.client.xreadgroup("workers", "a", {store.keys.stream: ">"}, count=10_000)
    await read(store)  # compiled

    fastest = min([await server_microseconds(store) for _ in range(20)])

    assert fastest < 1000


async def server_microseconds(store: Store) -> int:
    before = await evalsha_statistics(store)
    await read(store)
    after = await evalsha_statistics(store)
    assert after["calls"] >= before["calls"] + 1
    return after["usec"] - before["usec"]


async def evalsha_statistics(store: Store) -> dict[str, int]:
    client: Any = store.client  # its annotations say nothing of INFO
    return (await client.info("commandstats"))["cmdstat_evalsha"]


async def test_looking_changes_nothing(store: Store) -> None:
    await store.register("a")
    await store.add("k")
    before = await store.state()

    await read(store)

    assert await store.state() == before


@pytest.mark.parametrize(("until_seconds", "paused"), [(None, True), (60.0, True), (-60.0, False)])
async def test_a_pause_of_the_whole_docket_is_told_until_it_ends(
    store: Store, until_seconds: float | None, paused: bool
) -> None:
    assert (await read(store)).docket_paused is False
    now = await store.now() * 1000
    until = "" if until_seconds is None else str(now + round(until_seconds * 1_000_000))
    await store.client.hset(store.keys.pauses, "", packb([str(now), until, "", ""]))

    found = await read(store)

    assert (found.docket_paused, found.pauses) == (paused, 1)


@pytest.mark.parametrize("written", [b"", b"\xc1", packb(7), packb(["1"]), packb({"until": "9"})])
async def test_a_pause_that_is_none_of_ours_pauses_nothing(store: Store, written: bytes) -> None:
    await store.client.hset(store.keys.pauses, "", written)
    assert (await read(store)).docket_paused is False


async def test_a_pause_of_one_function_is_none_of_the_docket(store: Store) -> None:
    await store.client.hset(store.keys.pauses, "ship", packb(["1", "", "", ""]))
    assert (await read(store)).docket_paused is False
