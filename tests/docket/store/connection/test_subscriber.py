"""The subscriber: one connection for all who listen; what it may lose, and how that is told."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import uvloop
from redis.asyncio import Redis

from docket.store.connection import endpoint
from docket.store.connection.endpoint import Endpoint
from docket.store.connection.subscriber import Subscriber
from tests.support.proxy import proxy_to
from tests.support.store import until

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def subscriber_to(url: str, quiet_seconds: float = 15.0) -> AsyncGenerator[Subscriber]:
    subscriber = Subscriber(Endpoint(url), quiet_seconds)
    try:
        yield subscriber
    finally:
        await subscriber.close()
        await subscriber.close()


@pytest.fixture
async def client(server: str) -> AsyncGenerator[Redis]:
    async with Redis.from_url(server) as client:
        yield client


async def subscriptions(client: Redis, channel: str) -> int:
    return dict(await client.pubsub_numsub(channel))[channel.encode()]


async def test_everybody_who_listens_hears_what_is_published_to_their_channel(
    server: str, client: Redis, docket_name: str
) -> None:
    one, two, other = list[bytes | None](), list[bytes | None](), list[bytes | None]()
    async with subscriber_to(server) as subscriber:
        async with (
            subscriber.listening(docket_name, one.append),
            subscriber.listening(docket_name, two.append),
            subscriber.listening(docket_name + "x", other.append),
        ):
            assert await subscriptions(client, docket_name) == 1
            await client.publish(docket_name, "hello")
            await client.publish(docket_name + "x", "there")
            await until(lambda: bool(other))
        assert (one, two, other) == ([b"hello"], [b"hello"], [b"there"])
        await until(lambda: _is_zero(client, docket_name))


async def test_a_message_that_a_listener_cannot_read_ends_nothing(
    server: str, client: Redis, docket_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[int] = []

    def read(message: bytes | None) -> None:
        heard.append(int(message or b"0"))

    async with subscriber_to(server) as subscriber, subscriber.listening(docket_name, read):
        await client.publish(docket_name, "no number")
        await client.publish(docket_name, "7")
        await until(lambda: heard == [7])
    assert f"A message on {docket_name} was not understood: invalid literal" in caplog.text


async def _is_zero(client: Redis, channel: str) -> bool:
    return await subscriptions(client, channel) == 0


async def test_a_channel_is_left_when_its_last_listener_leaves(
    server: str, client: Redis, docket_name: str
) -> None:
    heard: list[bytes | None] = []
    async with (
        subscriber_to(server) as subscriber,
        subscriber.listening(docket_name, heard.append),
    ):
        async with subscriber.listening(docket_name, lambda _: None):
            pass
        await client.publish(docket_name, "still here")
        await until(lambda: heard == [b"still here"])


async def test_after_a_lost_connection_everybody_is_told_to_look_for_themselves(
    server: str, client: Redis, docket_name: str
) -> None:
    heard: list[bytes | None] = []
    async with (
        proxy_to(server) as proxy,
        subscriber_to(proxy.url) as subscriber,
        subscriber.listening(docket_name, heard.append),
    ):
        await proxy.refuse()
        await client.publish(docket_name, "lost")
        await proxy.open()
        await until(lambda: heard == [None])
        await client.publish(docket_name, "heard")
        await until(lambda: heard == [None, b"heard"])


async def test_who_begins_to_listen_while_the_server_is_away_listens_when_it_is_back(
    server: str, docket_name: str
) -> None:
    async with (
        proxy_to(server) as proxy,
        subscriber_to(proxy.url) as subscriber,
        AsyncExitStack() as stack,
    ):
        await stack.enter_async_context(subscriber.listening("other", lambda _: None))
        await proxy.refuse()
        entering = asyncio.create_task(
            stack.enter_async_context(subscriber.listening(docket_name, lambda _: None))
        )
        await proxy.open()
        await asyncio.wait_for(entering, 10)


async def test_a_listener_that_gives_up_before_it_is_confirmed_leaves_nothing_behind(
    server: str, client: Redis, docket_name: str
) -> None:
    async with proxy_to(server) as proxy, subscriber_to(proxy.url) as subscriber:
        proxy.half_open()
        stack = AsyncExitStack()
        entering = asyncio.create_task(
            stack.enter_async_context(subscriber.listening(docket_name, lambda _: None))
        )
        await until(lambda: proxy.accepted == 1)
        entering.cancel()
        await asyncio.gather(entering, return_exceptions=True)
        proxy.flow()
        heard: list[bytes | None] = []
        async with subscriber.listening(docket_name, heard.append):
            await client.publish(docket_name, "x")
            await until(lambda: heard == [b"x"])


async def test_a_quiet_connection_is_asked_and_a_silent_one_given_up(
    server: str, client: Redis, docket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "CONNECT_SECONDS", 0.2)
    heard: list[bytes | None] = []
    async with (
        proxy_to(server) as proxy,
        subscriber_to(proxy.url, 0.05) as subscriber,
        subscriber.listening(docket_name, heard.append),
    ):
        pings = await _pings(client)
        await until(lambda: _more_pings(client, pings + 2))
        assert proxy.accepted == 1
        assert heard == []
        proxy.half_open()
        await until(lambda: proxy.accepted > 1)
        proxy.flow()
        await until(lambda: None in heard)


async def _pings(client: Redis) -> int:
    stats = await client.info("commandstats")
    return int(stats.get("cmdstat_ping", {"calls": 0})["calls"])


async def _more_pings(client: Redis, count: int) -> bool:
    return await _pings(client) >= count


async def test_a_quiet_connection_without_any_channel_is_asked_too(
    server: str, client: Redis, docket_name: str
) -> None:
    async with proxy_to(server) as proxy, subscriber_to(proxy.url, 0.2) as subscriber:
        async with subscriber.listening(docket_name, lambda _: None):
            pass
        pings = await _pings(client)
        await until(lambda: _more_pings(client, pings + 3))
        assert proxy.accepted == 1


def test_who_stops_to_listen_right_after_the_connection_was_dropped_ends_nothing(
    server: str, docket_name: str
) -> None:
    """On uvloop, whose transports raise on a write once they are closed."""
    heard: list[bytes | None] = []

    async def drop_and_go_on() -> None:
        async with subscriber_to(server) as subscriber, Redis.from_url(server) as client:
            async with subscriber.listening(docket_name, heard.append):
                subscriber.reconnect()
            async with subscriber.listening(docket_name, heard.append):
                await client.publish(docket_name, "hello")
                await until(lambda: heard == [b"hello"])

    uvloop.run(drop_and_go_on())
