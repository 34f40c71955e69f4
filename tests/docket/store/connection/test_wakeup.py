"""The wake-up connection: a blocking wait for a token, which can be interrupted."""

import asyncio

import pytest
import uvloop

from docket.errors import ServerUnavailable
from docket.store.connection import wakeup as wakeup_module
from docket.store.connection.endpoint import DirectWrites, Endpoint
from docket.store.connection.wakeup import WakeupConnection
from docket.store.keys import Keys
from tests.support.proxy import Do, proxy_to, word
from tests.support.store import Store, until

pytestmark = pytest.mark.anyio


async def test_a_token_is_taken_by_one_who_waits(store: Store) -> None:
    connection = store.connections.wakeup_connection(store.keys)
    waiting = asyncio.create_task(connection.wait(10))
    await store.transitions.wake_idle()
    assert await waiting
    assert not (await store.state()).token
    await connection.close()
    await connection.close()


async def test_nobody_rang_in_time(store: Store) -> None:
    connection = store.connections.wakeup_connection(store.keys)
    assert not await connection.wait(0.01)
    await store.transitions.wake_idle()
    assert await connection.wait(0.01)
    await connection.close()


async def test_who_stops_waiting_leaves_the_token_to_others(store: Store) -> None:
    connection = store.connections.wakeup_connection(store.keys)
    blocked = (await store.client.info("clients"))["blocked_clients"]
    waiting = asyncio.create_task(connection.wait(10))

    async def is_blocked(by: int) -> bool:
        return (await store.client.info("clients"))["blocked_clients"] == blocked + by

    await until(lambda: is_blocked(1))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await until(lambda: is_blocked(0))
    await store.transitions.wake_idle()
    assert (await store.state()).token


async def test_a_lost_connection_is_told_and_the_next_wait_connects_anew(
    store: Store, server: str
) -> None:
    async with proxy_to(server) as proxy:
        connection = WakeupConnection(Endpoint(proxy.url), store.keys)
        proxy.intercept(word(b"BLPOP"), Do.LOSE_CALL)
        with pytest.raises(ServerUnavailable, match="wait for the bell"):
            await connection.wait(0.01)
        assert not await connection.wait(0.01)
        await connection.close()


async def test_a_connection_that_says_nothing_any_more_is_not_taken_for_a_quiet_server(
    store: Store, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxy_to(server) as proxy:
        connection = WakeupConnection(Endpoint(proxy.url), store.keys)
        assert not await connection.wait(0.01)
        proxy.half_open()
        with monkeypatch.context() as impatient:
            impatient.setattr(wakeup_module, "_GRACE_SECONDS", 0.1)
            with pytest.raises(ServerUnavailable):
                await connection.wait(0.01)
        proxy.cut()
        proxy.flow()
        await store.transitions.wake_idle()
        assert await connection.wait(5)
        await connection.close()


class Remembering(Endpoint):
    """An endpoint that has its newest connection at hand."""

    made: DirectWrites

    def direct_connection(self) -> DirectWrites:
        self.made = super().direct_connection()
        return self.made


def test_a_connection_that_was_closed_between_two_waits_is_told_as_unavailable(
    server: str, docket_name: str
) -> None:
    """On uvloop, whose transports raise on a write once they are closed."""

    async def wait_on_a_closed_one() -> None:
        endpoint = Remembering(server)
        connection = WakeupConnection(endpoint, Keys(docket_name))
        assert not await connection.wait(0.01)
        endpoint.made.abort()
        with pytest.raises(ServerUnavailable):
            await connection.wait(0.01)
        assert not await connection.wait(0.01)
        await connection.close()

    uvloop.run(wait_on_a_closed_one())
