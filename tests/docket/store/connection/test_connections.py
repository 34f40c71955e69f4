"""The connections of a process: one set for all dockets of a loop, closed by the last of them."""

import asyncio
from datetime import timedelta

import pytest
from redis.asyncio import Redis
from redis.credentials import UsernamePasswordCredentialProvider

from docket import Docket, StrikeList, Worker
from docket.store.connection.connections import Connections
from tests.support.dockets import Gate, at_work, finish, result_of, soon
from tests.support.proxy import proxy_to
from tests.support.store import until

pytestmark = pytest.mark.anyio


async def test_dockets_of_one_server_share_one_set_of_connections(
    server: str, docket_name: str
) -> None:
    async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as one:
        async with one.connections.subscriber.listening(docket_name, lambda _: None):
            await one.transitions.fetch("k")
        accepted = proxy.accepted
        async with Docket(docket_name + "x", proxy.url) as two:
            assert two.connections is one.connections
            await two.wait_for_strikes_loaded()
            await two.transitions.fetch("k")
        await one.transitions.fetch("k")
        assert proxy.accepted == accepted == 2


async def test_the_last_to_let_go_closes_them_and_the_next_opens_new_ones(server: str) -> None:
    first = await Connections.acquire(server)
    second = await Connections.acquire(server)
    assert first is second
    client = first.client()
    assert first.client() is client
    await client.ping()
    await first.release()
    assert first.pipeline.is_connected or await first.pipeline.command("PING")
    await second.release()
    assert not first.pipeline.is_connected
    third = await Connections.acquire(server)
    assert third is not first
    await third.release()


async def test_other_credentials_get_connections_of_their_own(server: str) -> None:
    plain = await Connections.acquire(server)
    own = await Connections.acquire(server, UsernamePasswordCredentialProvider("default"))
    assert own is not plain
    await own.release()
    await plain.release()


async def test_a_memory_url_is_a_server_of_this_process(docket_name: str) -> None:
    connections = await Connections.acquire(f"memory://{docket_name}")
    again = await Connections.acquire(f"memory://{docket_name}")
    assert again is connections
    assert await connections.pipeline.command("PING") == b"PONG"
    await again.release()
    await connections.release()


def test_every_loop_gets_connections_of_its_own(server: str) -> None:
    async def ping() -> object:
        connections = await Connections.acquire(server)
        try:
            return await connections.pipeline.command("PING")
        finally:
            await connections.release()

    assert [asyncio.run(ping()) for _ in range(3)] == [b"PONG"] * 3


async def test_connections_do_not_grow_with_concurrency(server: str, docket_name: str) -> None:
    gate = Gate()
    count = 0

    async def wait() -> None:
        nonlocal count
        count += 1
        await gate.pass_through()

    async with (
        proxy_to(server) as proxy,
        Docket(docket_name, proxy.url) as docket,
        at_work(Worker(docket, concurrency=300, redelivery_timeout=timedelta(seconds=2))),
    ):
        executions = await asyncio.gather(*[docket.add(wait)() for _ in range(300)])
        await until(lambda: count == 300)
        waiting = [asyncio.create_task(e.get_result()) for e in executions]
        assert proxy.accepted <= 4
        gate.opened.set()
        await soon(asyncio.gather(*waiting))
        assert proxy.accepted <= 4


async def test_a_client_of_redis_py_is_there_for_what_users_do_themselves(server: str) -> None:
    connections = await Connections.acquire(server)
    assert isinstance(connections.client(), Redis)
    await connections.release()


async def test_whoever_has_a_credential_provider_is_known_to_the_server_by_it(
    server: str, docket_name: str
) -> None:
    async def nothing() -> None: ...

    worker, listener = f"{docket_name}-worker", f"{docket_name}-listener"
    async with Docket(docket_name, server) as anybody, anybody.redis() as redis:
        for user in (worker, listener):
            await redis.execute_command(
                *("ACL", "SETUSER", user, "on", ">secret", "~*", "&*", "+@all")
            )
        try:
            async with (
                Docket(docket_name, server, credential_provider=provider_of(worker)) as docket,
                StrikeList(server, docket_name, credential_provider=provider_of(listener)),
            ):
                execution = await docket.add(nothing)()
                await finish(docket)
                assert await result_of(execution) is None

                users = [client["user"] for client in await redis.client_list()]
                assert users.count(worker) >= 2, "for commands, and to hear of what happens"
                assert listener in users
                async with docket.redis() as theirs:
                    assert await theirs.execute_command("ACL", "WHOAMI") == worker.encode()
        finally:
            await redis.execute_command("ACL", "DELUSER", worker, listener)


def provider_of(user: str) -> UsernamePasswordCredentialProvider:
    return UsernamePasswordCredentialProvider(user, "secret")
