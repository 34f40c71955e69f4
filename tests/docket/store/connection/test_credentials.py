"""Credential providers: whatever a provider is like, and however its tokens change."""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.auth.token import SimpleToken
from redis.credentials import CredentialProvider, StreamingCredentialProvider

from docket import Docket, StrikeList, Worker
from docket.store.connection import credentials
from docket.store.connection.connections import Connections
from tests.support.dockets import Gate, at_work, finish, result_of, soon
from tests.support.store import until

pytestmark = [pytest.mark.anyio, pytest.mark.statement(45)]

REFUSAL = r"Pass credentials in the URL or in credential_provider, not both"


class OnlyAsynchronous(CredentialProvider):
    """Has the method that an application with an event loop writes, and not the other."""

    def __init__(self, user: str) -> None:
        self.user = user
        #: The loop of each call.
        self.asked: list[asyncio.AbstractEventLoop] = []
        self.failure: BaseException | None = None

    async def get_credentials_async(self) -> Any:
        self.asked.append(asyncio.get_running_loop())
        if self.failure is not None:
            raise self.failure
        return (self.user, "secret")


class Streaming(OnlyAsynchronous, StreamingCredentialProvider):
    """Pushes tokens, through the callbacks that it was given."""

    def __init__(self, user: str) -> None:
        super().__init__(user)
        self.callbacks: list[tuple[str, Callable[[Any], Any]]] = []

    def on_next(self, callback: Callable[[Any], Any]) -> None:
        self.callbacks.append(("next", callback))

    def on_error(self, callback: Callable[[Any], Any]) -> None:
        self.callbacks.append(("error", callback))

    def is_streaming(self) -> bool:
        return True

    def call(self, kind: str, argument: Any) -> Any:
        (callback,) = [callback for name, callback in self.callbacks if name == kind]
        return callback(argument)


def token_of(user: str, value: str = "secret") -> SimpleToken:
    return SimpleToken(value, -1, 0, {"oid": user})


@asynccontextmanager
async def users(server: str, *names: str) -> AsyncGenerator[Redis]:
    """Users that may do everything, and a connection that may too."""
    connections = await Connections.acquire(server)
    redis = connections.client()
    for name in names:
        await redis.execute_command("ACL", "SETUSER", name, "on", ">secret", "~*", "&*", "+@all")
    try:
        yield redis
    finally:
        await redis.execute_command("ACL", "DELUSER", *names)
        await connections.release()


async def connected(redis: Redis, *names: str) -> dict[str, tuple[str, str]]:
    """User and last command of each connection of these users, by its id."""
    clients = await redis.client_list()
    return {each["id"]: (each["user"], each["cmd"]) for each in clients if each["user"] in names}


async def nothing() -> str:
    return "done"


async def test_a_provider_needs_the_asynchronous_method_only(server: str, docket_name: str) -> None:
    provider = OnlyAsynchronous(docket_name)
    async with (
        users(server, docket_name) as redis,
        Docket(docket_name, server, credential_provider=provider) as docket,
        StrikeList(server, docket_name, credential_provider=provider) as strikes,
        Worker(docket) as worker,
        at_work(worker),
    ):
        execution = await docket.add(nothing)()
        assert await result_of(execution) == "done"
        await docket.strike("other")
        await soon(until(lambda: strikes.in_effect == 1))
        # The pipeline, the subscriber, the wake-up and, on its thread, the heartbeater.
        await soon(until(lambda: has_connections(redis, docket_name, 4)))
        async with docket.redis() as theirs:
            assert await theirs.execute_command("ACL", "WHOAMI") == docket_name.encode()
    assert set(provider.asked) == {asyncio.get_running_loop()}


@pytest.mark.parametrize("removal", ["DELUSER", "KILL"])
async def test_a_worker_goes_on_with_what_the_provider_gives_now(
    server: str, docket_name: str, removal: str
) -> None:
    old, new = f"{docket_name}-old", f"{docket_name}-new"
    provider, gate = OnlyAsynchronous(old), Gate()
    async with (
        users(server, old, new) as redis,
        Docket(docket_name, server, credential_provider=provider) as docket,
    ):
        docket.register(gate.stay)
        docket.register(nothing)
        async with Worker(docket) as worker:
            running = asyncio.create_task(worker.run_forever())
            during = await docket.add(gate.stay)()
            await soon(gate.reached.wait())
            provider.user = new
            if removal == "DELUSER":
                await redis.execute_command("ACL", "DELUSER", old)
            else:
                await redis.execute_command("ACL", "SETUSER", old, "off")
                await redis.execute_command("CLIENT", "KILL", "USER", old)
            after = await docket.add(nothing)()
            assert await result_of(after) == "done"
            gate.opened.set()
            await result_of(during)
            await soon(until(lambda: has_connections(redis, new, 4)))
            assert await connected(redis, old) == {}
            assert not running.done()
            running.cancel()
            await asyncio.wait([running])


async def has_connections(redis: Redis, user: str, number: int) -> bool:
    return len(await connected(redis, user)) == number


@pytest.mark.parametrize(
    "failure",
    [
        RuntimeError("no token today"),
        KeyError("AZURE_CLIENT_ID"),
        ConnectionResetError("the vault hung up"),
        asyncio.CancelledError(),
        TimeoutError(),
        SystemExit(3),
        ExceptionGroup("two", [ValueError("a"), ValueError("b")]),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_no_error_of_a_provider_ends_a_worker_and_each_is_logged(
    server: str, docket_name: str, failure: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    provider = OnlyAsynchronous(docket_name)
    async with (
        users(server, docket_name) as redis,
        Docket(docket_name, server, credential_provider=provider) as docket,
        Worker(docket) as worker,
    ):
        docket.register(nothing)
        running = asyncio.create_task(worker.run_forever())
        assert await result_of(await docket.add(nothing)()) == "done"
        provider.failure = failure
        await redis.execute_command("CLIENT", "KILL", "USER", docket_name)
        await soon(until(lambda: "credential provider" in caplog.text))
        asked = len(provider.asked)
        await soon(until(lambda: len(provider.asked) > asked + 3))
        provider.failure = None
        assert await result_of(await docket.add(nothing)()) == "done"
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])
    (line,) = [each for each in caplog.records if "lost or refused: the cred" in each.message]
    assert line.levelno == logging.WARNING


class Silent(OnlyAsynchronous):
    async def get_credentials_async(self) -> Any:
        if not self.asked:
            self.asked.append(asyncio.get_running_loop())
            await asyncio.Event().wait()
        return await super().get_credentials_async()


class Strange(OnlyAsynchronous):
    async def get_credentials_async(self) -> Any:
        given = await super().get_credentials_async()
        return (
            [None, "text", (), ("a", "b", "c"), (1, 2)][len(self.asked) - 1]
            if (len(self.asked) < 6)
            else given
        )


class OnlyBlocking:
    """No class of redis-py's; its first answer fails."""

    def __init__(self, user: str) -> None:
        self.user, self.asked = user, 0

    def get_credentials(self) -> tuple[str, str]:
        self.asked += 1
        if self.asked == 1:
            raise OSError("not now")
        return (self.user, "secret")


@pytest.mark.parametrize("kind", [Silent, Strange, OnlyBlocking])
async def test_what_is_no_answer_is_asked_for_again(
    server: str,
    docket_name: str,
    kind: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(credentials, "PROVIDER_SECONDS", 0.2)
    async with (
        users(server, docket_name),
        Docket(docket_name, server, credential_provider=kind(docket_name)) as docket,
    ):
        docket.register(nothing)
        execution = await docket.add(nothing)()
        await finish(docket)
        assert await result_of(execution) == "done"
    assert "lost or refused: the credential provider failed: " in caplog.text


async def test_the_heartbeater_waits_for_a_loop_that_is_blocked(
    server: str, docket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "PROVIDER_SECONDS", 0.05)
    given = credentials.credentials_of(OnlyAsynchronous(docket_name))
    loop, failures = asyncio.get_running_loop(), list[Exception]()

    def ask() -> None:
        try:
            given.get_credentials_from(loop)
        except credentials.ProviderFailed as error:
            failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert [str(error) for error in failures] == ["the credential provider failed: TimeoutError()"]
    assert await asyncio.to_thread(given.get_credentials_from, loop) == (docket_name, "secret")
    closed = asyncio.new_event_loop()
    closed.close()
    with pytest.raises(credentials.ProviderFailed, match="Event loop is closed"):
        given.get_credentials_from(closed)


# Tokens that are pushed -------------------------------------------------------------------


@pytest.mark.parametrize("how", ["called", "awaited", "from a thread", "as a task"])
async def test_open_connections_take_a_pushed_token_without_being_closed(
    server: str, docket_name: str, how: str
) -> None:
    old, new = f"{docket_name}-old", f"{docket_name}-new"
    provider = Streaming(old)
    async with (
        users(server, old, new) as redis,
        Docket(docket_name, server, credential_provider=provider) as docket,
        Docket(docket_name + "x", server, credential_provider=provider) as other,
        StrikeList(server, docket_name, credential_provider=provider),
        Worker(docket) as worker,
        Worker(other) as second,
        docket.redis() as theirs,
    ):
        docket.register(nothing)
        await theirs.ping()
        async with at_work(worker), at_work(second):
            # A pipeline, a subscriber and a client; a wake-up and a heartbeater for each.
            await soon(until(lambda: has_connections(redis, old, 7)))
            before = await connected(redis, old)
            provider.user = new
            match how:
                case "called":
                    provider.call("next", token_of(new))
                case "awaited":
                    await provider.call("next", token_of(new))
                case "as a task":
                    await asyncio.create_task(provider.call("next", token_of(new)))
                case _:
                    await asyncio.to_thread(provider.call, "next", token_of(new))
            # Ends the wait of the connections that were waiting for a wake-up.
            assert await result_of(await docket.add(nothing)()) == "done"
            other.register(nothing)
            assert await result_of(await other.add(nothing)()) == "done"
            await soon(until(lambda: has_connections(redis, new, 6)))
            after = await connected(redis, new, old)
            assert after.keys() == before.keys()
            (left,) = [cmd for user, cmd in after.values() if user == old]
            assert "subscribe" in left
    assert [kind for kind, _ in provider.callbacks] == ["next", "error"]


async def test_a_provider_is_given_its_callbacks_once_however_often_it_is_used(
    server: str, docket_name: str
) -> None:
    provider = Streaming(docket_name)
    async with users(server, docket_name):
        for _ in range(3):
            async with Docket(docket_name, server, credential_provider=provider) as docket:
                await docket.snapshot()
    assert [kind for kind, _ in provider.callbacks] == ["next", "error"]


async def test_a_token_that_is_refused_or_none_costs_a_line_and_no_connection(
    server: str, docket_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    provider = Streaming(docket_name)
    async with (
        users(server, docket_name) as redis,
        Docket(docket_name, server, credential_provider=provider) as docket,
    ):
        await docket.snapshot()
        before = await connected(redis, docket_name)
        provider.call("next", token_of(docket_name, "wrong"))
        await soon(until(lambda: "refuses the pushed token" in caplog.text))
        provider.call("next", None)
        assert "pushed no token" in caplog.text
        await docket.snapshot()
        assert (await connected(redis, docket_name)).keys() == before.keys()


@pytest.mark.parametrize("error", [RuntimeError("expired"), "expired"])
async def test_a_failed_refresh_is_a_warning(
    server: str, docket_name: str, error: Any, caplog: pytest.LogCaptureFixture
) -> None:
    provider = Streaming(docket_name)
    async with (
        users(server, docket_name),
        Docket(docket_name, server, credential_provider=provider) as docket,
    ):
        await docket.snapshot()
        await provider.call("error", error)
    (line,) = [each for each in caplog.records if "refresh" in each.message]
    assert (line.levelname, line.message) == (
        "WARNING",
        "The credential provider failed to refresh",
    )


class Mute(Streaming):
    def on_next(self, callback: Callable[[Any], Any]) -> None:
        raise RuntimeError("no room for a callback")


async def test_a_provider_that_takes_no_callbacks_is_asked_all_the_same(
    server: str, docket_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        users(server, docket_name),
        Docket(docket_name, server, credential_provider=Mute(docket_name)) as docket,
    ):
        await docket.snapshot()
    assert "The credential provider does not stream" in caplog.text


# Where a provider is not asked ------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "redis://ann:pw@h",
        "redis://:pw@h",
        "redis://ann@h",
        "redis://h?username=ann&password=pw",
        "unix://ann:pw@/r.sock",
        "redis+cluster://ann:pw@h",
        "rediss+sentinel://ann:pw@h/main",
    ],
)
async def test_credentials_in_the_url_beside_a_provider_are_refused(url: str) -> None:
    provider = OnlyAsynchronous("x")
    with pytest.raises(ValueError, match=REFUSAL):
        Docket("x", url, credential_provider=provider)
    with pytest.raises(ValueError, match=REFUSAL):
        StrikeList(url, "x", credential_provider=provider)
    Docket("x", "redis+sentinel://h/main?sentinel_password=pw", credential_provider=provider)


async def test_nobody_asks_a_provider_for_an_embedded_server(docket_name: str) -> None:
    provider = Streaming("nobody")
    async with Docket(
        docket_name, f"memory://{docket_name}", credential_provider=provider
    ) as docket:
        execution = await docket.add(nothing)()
        await finish(docket)
        assert await result_of(execution) == "done"
    assert (provider.asked, provider.callbacks) == ([], [])
