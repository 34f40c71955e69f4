"""A docket in a cluster: on the node that serves its slot, wherever that is at the moment."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import RedisCluster
from redis.auth.token import SimpleToken
from redis.credentials import StreamingCredentialProvider
from redis.exceptions import ResponseError

from docket import Disposition, Docket, ExecutionCancelled, ExecutionState, Worker
from docket.store.keys import Keys
from tests.support import store
from tests.support.dockets import Gate, at_work, failure_of, result_of, soon
from tests.support.load import loaded, meanwhile
from tests.support.parameters import in_full
from tests.support.servers import Cluster, Process, cluster_for, until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]


@pytest.fixture
def cluster(docket_name: str) -> Iterator[Cluster]:
    with cluster_for(docket_name) as started:
        yield started


def another_docket_name(cluster: Cluster) -> str:
    """Of one that another node serves."""
    names = (f"other-{uuid4().hex}" for _ in range(200))
    third = cluster.slot * 3 // 16384
    return next(name for name in names if Keys(name).slot * 3 // 16384 != third)


async def test_everything_works_in_a_cluster_by_the_url_of_any_node(
    cluster: Cluster, docket_name: str
) -> None:
    gate = Gate()

    async def double(number: int) -> int:
        return 2 * number

    async def wait() -> None:
        await gate.pass_through()

    async with (
        Docket(docket_name, cluster.url) as docket,
        Docket(another_docket_name(cluster), cluster.url) as other,
        at_work(Worker(docket)),
        at_work(Worker(other)),
    ):
        assert docket.connections is not other.connections
        soon_due = datetime.now(UTC) + timedelta(milliseconds=200)
        executions = [
            await docket.add(double)(1),
            await docket.add(double, when=soon_due)(2),
            await other.add(double)(3),
        ]
        assert [await result_of(execution) for execution in executions] == [2, 4, 6]

        running = await docket.add(wait)()
        await soon(gate.reached.wait())
        await docket.cancel(running.key)
        assert isinstance(await failure_of(running), ExecutionCancelled)
        await docket.strike("double")
        assert (await docket.add(double)(4)).disposition is Disposition.STRUCK
        snapshot = await docket.snapshot()
        assert (snapshot.total_tasks, len(snapshot.workers)) == (0, 1)


class Streaming(StreamingCredentialProvider):
    """Has the asynchronous method only, and pushes what is given to its callback."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.push: Callable[[Any], Any] | None = None

    async def get_credentials_async(self) -> tuple[str, str]:
        return (self.user, "secret")

    def on_next(self, callback: Callable[[Any], Any]) -> None:
        self.push = callback

    def on_error(self, callback: Callable[[Any], Any]) -> None: ...

    def is_streaming(self) -> bool:
        return True


async def test_every_connection_to_a_cluster_has_the_user_of_the_credential_provider(
    cluster: Cluster, docket_name: str
) -> None:
    async def nothing() -> str:
        return "done"

    for node in [*cluster.primaries, cluster.replica]:
        for user in ("old", "new"):
            everything = ("on", ">secret", "~*", "&*", "+@all")
            node.client.execute_command("ACL", "SETUSER", user, *everything)

    def users() -> list[str]:
        clients = cluster.owner.client.client_list()
        return sorted(each["user"] for each in clients if each["user"] in ("old", "new"))

    provider = Streaming("old")
    async with (
        Docket(docket_name, cluster.url, credential_provider=provider) as docket,
        at_work(Worker(docket)),
        docket.redis() as client,
    ):
        assert await result_of(await docket.add(nothing)()) == "done"
        await client.set(docket.key("mine"), 1)
        await soon(store.until(lambda: users() == ["old"] * 5))
        provider.user = "new"
        assert provider.push is not None
        provider.push(SimpleToken("secret", -1, 0, {"oid": "new"}))
        assert await result_of(await docket.add(nothing)()) == "done"
        # The subscriber keeps the old one until it connects again.
        await soon(store.until(lambda: users() == ["new"] * 4 + ["old"]))


async def test_the_client_for_users_reaches_every_node(cluster: Cluster, docket_name: str) -> None:
    async with Docket(docket_name, cluster.url) as docket, docket.redis() as client:
        assert isinstance(client, RedisCluster)
        for number in range(20):
            await client.set(f"somewhere-{number}", number)
        assert [await client.get(f"somewhere-{n}") for n in range(20)] == [
            str(n).encode() for n in range(20)
        ]


def ask(node: Process, *words: object) -> object:
    return node.client.execute_command(*words)


def move_key_by_key(cluster: Cluster, target: Process) -> None:
    """As redis-cli does it: the slot is on both nodes for a while."""
    owner, slot = cluster.owner, cluster.slot
    theirs, ours = ask(target, "CLUSTER MYID"), ask(owner, "CLUSTER MYID")
    ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ours)
    ask(owner, "CLUSTER", "SETSLOT", slot, "MIGRATING", theirs)
    while keys := owner.client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 10):
        migrate = ("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        # A key may expire or be removed between the two.
        with contextlib.suppress(ResponseError):
            ask(owner, *migrate)
    for node in (target, owner, *cluster.primaries):
        ask(node, "CLUSTER", "SETSLOT", slot, "NODE", theirs)


def move_at_once(cluster: Cluster, target: Process) -> None:
    """As Valkey does it since 9: the slot is on one node, then on the other."""
    theirs = ask(target, "CLUSTER MYID")
    slot = cluster.slot
    ask(cluster.owner, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", theirs)
    until(lambda: cluster.is_served_by(target), "the slot to move")


@pytest.mark.parametrize("move", [move_key_by_key, *in_full(move_at_once)])
async def test_a_slot_that_moves_under_load_takes_every_task_along(
    cluster: Cluster, docket_name: str, move: Callable[[Cluster, Process], None]
) -> None:
    target = cluster.others[1]

    async def moves() -> None:
        await asyncio.to_thread(move, cluster, target)

    async with loaded(docket_name, cluster.url, tasks=400) as load:
        await meanwhile(load, moves, range(400, 600))
        await load.all_end_well()
        # Whoever is sent elsewhere knows that nothing was done: none of these ran twice.
        assert set(load.runs.values()) == {1}
        assert load.docket.connections.pipeline.disruptions >= 1
    assert target.client.exists(Keys(docket_name).record("task-1"))
    assert cluster.is_served_by(target)


async def test_a_replica_that_takes_over_from_a_killed_node_loses_nothing(
    cluster: Cluster, docket_name: str
) -> None:
    async with loaded(docket_name, cluster.url, tasks=400) as load:
        await asyncio.to_thread(cluster.await_replication)
        cluster.owner.kill()
        await load.add(range(400, 600))
        await load.all_end_well()
        state = await load.docket.get_execution("task-599")
        assert state is not None
        assert state.state is ExecutionState.COMPLETED
    assert cluster.is_served_by(cluster.replica)


async def test_a_worker_is_woken_by_the_token_of_a_slot_that_moved_while_it_waited(
    cluster: Cluster, docket_name: str
) -> None:
    async def quick() -> str:
        return "done"

    async with Docket(docket_name, cluster.url) as docket, at_work(Worker(docket)):
        assert await result_of(await docket.add(quick)()) == "done"
        await asyncio.to_thread(move_at_once, cluster, cluster.others[1])
        for _ in range(3):
            assert await result_of(await docket.add(quick)()) == "done"


# Messages ---------------------------------------------------------------------------------------


def told_by_others(node: Process) -> int:
    """The number of ordinary messages that a node has got from the others."""
    state = node.client.execute_command("CLUSTER INFO")
    return int(state.get("cluster_stats_messages_publish_received", 0))


async def test_the_messages_of_a_docket_stay_on_its_shard(
    cluster: Cluster, docket_name: str
) -> None:
    async def double(number: int) -> int:
        return 2 * number

    async with Docket(docket_name, cluster.url) as docket, at_work(Worker(docket)):
        executions = [await docket.add(double)(number) for number in range(20)]
        assert [await result_of(one) for one in executions] == [2 * n for n in range(20)]
        # One message that goes everywhere, behind all that went there before.
        cluster.owner.client.publish("everywhere", "end")
        for node in cluster.others:
            await soon(store.until(lambda node=node: told_by_others(node) > 0))
    assert [told_by_others(node) for node in cluster.others] == [1, 1]


async def nothing() -> None: ...


def fail_over(cluster: Cluster, _: Process) -> None:
    """The old primary lives on, as a replica."""
    ask(cluster.replica, "CLUSTER", "FAILOVER")
    until(lambda: cluster.is_served_by(cluster.replica), "the failover")
    until(lambda: cluster.owner.client.info("replication")["role"] == "slave", "the old primary")


@pytest.mark.parametrize("move", [move_key_by_key, move_at_once, fail_over])
async def test_a_subscriber_goes_with_the_slot(
    cluster: Cluster, docket_name: str, move: Callable[[Cluster, Process], None]
) -> None:
    heard: list[bytes | None] = []
    async with Docket(docket_name, cluster.url) as docket:
        docket.register(nothing)
        channel = docket.keys.state_channel("k")
        async with docket.connections.subscriber.listening(channel, heard.append):
            await docket.add(nothing, key="k")()
            await soon(store.until(lambda: any(heard)))
            await docket.cancel("k")
            await asyncio.to_thread(move, cluster, cluster.others[1])
            heard.clear()
            # Whoever calls is sent elsewhere; a subscriber whose slot has left is told at once.
            await docket.add(nothing, key="k", when=datetime.now(UTC) + timedelta(hours=1))()

            async def hears_again() -> bool:
                await docket.cancel("k")
                await docket.add(nothing, key="k", when=datetime.now(UTC) + timedelta(hours=1))()
                return any(message and message.startswith(b"scheduled") for message in heard)

            await soon(store.until(hears_again))
