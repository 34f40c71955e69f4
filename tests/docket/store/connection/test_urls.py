"""Every form of a URL, what becomes of it, and what a wrong one is told. No server is asked."""

import asyncio
import socket
from typing import Any

import pytest
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.connection import Connection as BlockingConnection
from redis.connection import SSLConnection as BlockingSSLConnection
from redis.crc import key_slot
from redis.credentials import CredentialProvider, UsernamePasswordCredentialProvider
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from docket import Docket
from docket.store.connection import discovery
from docket.store.connection.credentials import credentials_of
from docket.store.connection.discovery import ClusterLocator, SentinelLocator
from docket.store.connection.endpoint import Endpoint
from docket.store.connection.urls import Address, is_cluster, parse, validate_url
from docket.store.keys import Keys

FULL = {"host": "::1", "port": 7, "username": "ann", "password": "pw"}
UNCHECKED = {"ssl_cert_reqs": "none"}
SENTINELS = (
    "redis+sentinel://ann:pw@one:1,[::1]:2,three/main/4?sentinel_username=s&sentinel_password=t"
)


@pytest.mark.parametrize(
    ("url", "tls", "options"),
    [
        ("redis://", False, {}),
        ("redis://h", False, {"host": "h"}),
        ("redis://h:7000/", False, {"host": "h", "port": 7000}),
        ("redis://h/3", False, {"host": "h", "db": 3}),
        ("REDIS://h/3", False, {"host": "h", "db": 3}),
        ("redis://:p%40w@h", False, {"host": "h", "password": "p@w"}),
        ("redis://ann:pw@[::1]:7", False, FULL),
        ("valkey://h:1", False, {"host": "h", "port": 1}),
        ("rediss://h?ssl_cert_reqs=none", True, {"host": "h", "ssl_cert_reqs": "none"}),
        ("valkeys://h", True, {"host": "h"}),
        ("redis://h?client_name=me&db=2", False, {"host": "h", "client_name": "me", "db": 2}),
        ("redis://ann:pw@[::1]:7?ssl=true", True, FULL),
        ("redis://h/3?ssl=True&ssl_cert_reqs=none", True, {"host": "h", "db": 3, **UNCHECKED}),
        ("redis://h?ssl=false", False, {"host": "h"}),
        ("rediss://h?ssl=true", True, {"host": "h"}),
    ],
)
def test_one_server_is_named_with_its_options(url: str, tls: bool, options: dict[str, Any]) -> None:
    read = parse(url)
    assert (read.topology, read.tls, read.unix, read.options) == ("one", tls, False, options)
    assert not is_cluster(url)


def test_a_socket_is_named_by_its_path() -> None:
    read = parse("unix://ann@/run/my%20redis.sock?db=1&password=pw")
    assert read.unix
    assert read.options == {
        "path": "/run/my redis.sock",
        "username": "ann",
        "password": "pw",
        "db": 1,
    }


@pytest.mark.parametrize("path", ["", "/", "/0"])
def test_a_cluster_is_named_by_some_of_its_nodes(path: str) -> None:
    read = parse(f"redis+cluster://ann:pw@one,two:7001{path}?socket_keepalive=true")
    assert (read.topology, read.tls) == ("cluster", False)
    assert read.hosts == (("one", 6379), ("two", 7001))
    assert read.options["password"] == "pw"
    assert read.options["socket_keepalive"] is True
    assert parse("rediss+cluster://one").tls
    assert parse("redis+cluster://one?ssl=true").tls
    assert is_cluster("rediss+cluster://one")


def test_sentinels_are_named_with_what_they_call_the_primary() -> None:
    read = parse(SENTINELS)
    assert (read.topology, read.primary) == ("sentinel", "main")
    assert read.hosts == (("one", 1), ("::1", 2), ("three", 26379))
    assert (read.options["username"], read.options["password"]) == ("ann", "pw")
    assert read.options["db"] == 4
    assert read.sentinel_options == {"username": "s", "password": "t"}
    assert "db" not in parse("rediss+sentinel://one/main").options
    assert parse("redis+sentinel://one/main?ssl=true").tls
    assert parse("redis+sentinel://one/my%2Fmain/").primary == "my/main"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "secret@localhost",
        "http://:secret@localhost",
        "redis+tls://:secret@localhost",
        "redis://:secret@h:port",
        "redis://:secret@h:99999",
        "redis://:secret@h/orders",
        "redis://:sec/secret@h",
        "redis://:secret@one:1,two:2",
        "redis://:secret@h?no_such_option=secret",
        "redis://:secret@h?db=secret",
        "redis://:secret@h?ssl_cert_reqs=none",
        "redis://:secret@h?ssl=secret",
        "rediss://:secret@h?ssl=false",
        "redis://:secret@h?ssl=true&ssl=false",
        "rediss://:secret@h?ssl_cert_reqs=secret",
        "unix://",
        "unix://:secret@",
        "unix://some/secret.sock",
        "redis+cluster://",
        "redis+cluster://:secret@",
        "redis+cluster://:secret@one,,two",
        "redis+cluster://:secret@one:0",
        "redis+cluster://:secret@one:70000",
        "redis+cluster://:secret@one/1",
        "redis+cluster://:secret@one/main",
        "redis+cluster://:secret@one?db=1",
        "redis+sentinel://:secret@one:26379",
        "redis+sentinel://:secret@one:26379/",
        "redis+sentinel://:secret@one:26379//0",
        "redis+sentinel://:secret@one:26379/main/secret",
        "redis+sentinel://:secret@/main",
        "redis+sentinel://:secret@one:x/main?sentinel_password=secret",
        # Python's own errors quote what these contain: a sign that becomes a / or an @.
        "redis://u:secret\u2100@h/0",
        "redis://u:secret\uff20h:6379/0",
    ],
)
def test_another_url_is_refused_with_the_accepted_forms_and_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"Accepted: redis://.*redis\+sentinel://") as refused:
        Docket(url=url)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None, "some collectors of errors show it even if suppressed"


@pytest.mark.parametrize("url", ["memory://", "memory://orders", "embedded:///data/orders"])
def test_an_embedded_server_needs_no_other_form(url: str) -> None:
    validate_url(url)


def test_what_was_read_does_not_show_its_secrets_either() -> None:
    assert "pw" not in repr(parse(SENTINELS))
    assert "sentinel_password" not in repr(parse(SENTINELS))


def test_an_address_is_shown_as_it_is_written() -> None:
    assert [str(Address("h", 1)), str(Address("::1", 2))] == ["h:1", "[::1]:2"]


# What connections are made of ------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "asynchronous", "blocking"),
    [
        ("redis://h", Connection, BlockingConnection),
        ("rediss://h", SSLConnection, BlockingSSLConnection),
        ("redis+cluster://h", Connection, BlockingConnection),
        ("rediss+sentinel://h/main", SSLConnection, BlockingSSLConnection),
    ],
)
def test_connections_are_of_the_kind_that_the_url_says(
    url: str, asynchronous: type[Any], blocking: type[Any]
) -> None:
    endpoint = Endpoint(url)
    assert isinstance(endpoint.connection(), asynchronous)
    assert isinstance(endpoint.direct_connection(), asynchronous)
    loop = asyncio.new_event_loop()
    assert isinstance(endpoint.blocking_connection(1.0, loop), blocking)
    loop.close()
    assert isinstance(Endpoint("unix:///r.sock").connection(), UnixDomainSocketConnection)


def test_options_of_the_query_reach_redis_py_except_those_that_change_how_it_is_spoken_to() -> None:
    url = "redis://h?client_name=me&decode_responses=true&protocol=3&socket_timeout=1"
    url += "&max_connections=3&encoding=latin-1&retry_on_timeout=yes&health_check_interval=5"
    ours: Any = Endpoint(url).connection()
    assert ours.client_name == "me"
    assert not ours.encoder.decode_responses
    assert (ours.encoder.encoding, ours.protocol, ours.socket_timeout) == ("utf-8", 2, None)
    assert (ours.retry_on_timeout, ours.health_check_interval) == (False, 0)
    users: Any = Endpoint(url).client().connection_pool
    assert users.max_connections == 3
    options = users.connection_kwargs
    assert (options["client_name"], options["protocol"]) == ("me", 3)
    assert (options["encoding"], options["decode_responses"]) == ("latin-1", "true")


@pytest.mark.anyio
@pytest.mark.parametrize("url", ["redis://h", "redis+sentinel://h/main", "redis+cluster://h"])
async def test_every_connection_asks_the_credential_provider(url: str) -> None:
    provider = credentials_of(UsernamePasswordCredentialProvider("bob", "other"))
    endpoint = Endpoint(url, provider)
    for connection in (endpoint.connection(), endpoint.direct_connection()):
        asked: Any = connection.credential_provider
        assert await asked.get_credentials_async() == ("bob", "other")
    blocking: Any = endpoint.blocking_connection(1.0, asyncio.get_running_loop())
    asked = await asyncio.to_thread(blocking.credential_provider.get_credentials)
    assert asked == ("bob", "other")


@pytest.mark.anyio
async def test_a_credential_provider_is_asked_at_every_connect(server: str) -> None:
    class Counting(CredentialProvider):
        asked = 0

        def get_credentials(self) -> tuple[str]:
            self.asked += 1
            return ("any password does for a user without one",)

    provider = Counting()
    connection = Endpoint(server, credentials_of(provider)).connection()
    for times in (1, 2):
        # The server has no password: it says so to whoever sends one.
        with pytest.raises(RedisError):
            await connection.connect()
        await connection.disconnect()
        assert provider.asked >= times


def test_the_client_of_a_cluster_knows_every_node_that_the_url_names() -> None:
    client = Endpoint("rediss+cluster://ann:pw@one:1,two:2").client()
    assert isinstance(client, RedisCluster)
    names = {node.name for node in client.nodes_manager.startup_nodes.values()}
    assert names == {"one:1", "two:2"}
    assert isinstance(Endpoint("redis+sentinel://one/main").client(), Redis)


def test_all_keys_of_a_docket_are_in_one_slot() -> None:
    keys = Keys("orders: größere")
    some = [keys.stream, keys.record("k{other}"), keys.task_workers("f"), keys.state_channel("{")]
    assert {key_slot(key.encode()) for key in some} == {keys.slot}


# Where the server is ---------------------------------------------------------------------

ASKED = Address("seed", 1)


def cluster_locator(slot: int) -> ClusterLocator:
    return ClusterLocator((ASKED,), {}, tls=False, slot=slot)


def test_a_slot_is_served_by_the_first_node_of_its_range() -> None:
    reply = [
        [0, 99, [b"10.0.0.1", 7001, b"id1"], [b"10.0.0.9", 7009, b"id9"]],
        [100, 16383, [b"10.0.0.2", 7002, b"id2", []]],
    ]
    assert cluster_locator(99).read(ASKED, reply) == ("10.0.0.1", 7001)
    assert cluster_locator(100).read(ASKED, reply) == ("10.0.0.2", 7002)


@pytest.mark.parametrize("unknown", [None, b"", b"?"])
def test_a_node_that_does_not_know_its_name_is_where_it_was_asked(unknown: bytes | None) -> None:
    assert cluster_locator(5).read(ASKED, [[0, 9, [unknown, 7001]]]) == ("seed", 7001)


def test_a_slot_that_nobody_serves_is_an_error_that_says_so() -> None:
    with pytest.raises(RedisError, match="no node serves slot 77, says seed:1"):
        cluster_locator(77).read(ASKED, [[0, 9, [b"h", 1]]])


def test_sentinels_answer_with_an_address_or_know_no_such_primary() -> None:
    locator = SentinelLocator((ASKED,), {}, tls=False, primary="main")
    assert locator.read(ASKED, [b"10.0.0.1", b"7001"]) == ("10.0.0.1", 7001)
    with pytest.raises(RedisError, match="sentinel seed:1 watches no primary of that name"):
        locator.read(ASKED, None)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+cluster://:secret@127.0.0.1:{port}", "no node of the cluster told which of them"),
        ("redis+sentinel://:secret@127.0.0.1:{port}/main", "no sentinel told where .*'main'"),
    ],
)
@pytest.mark.parametrize("is_mute", [True, False])
async def test_when_nobody_tells_where_the_server_is_the_error_says_whom_it_asked(
    url: str, said: str, is_mute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "ASK_SECONDS", 0.1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if is_mute:
            # Accepted by the system, and by nobody behind it.
            silent.listen()
        endpoint = Endpoint(url.format(port=silent.getsockname()[1]))
        with pytest.raises(RedisError, match=said) as refused:
            await endpoint.connection().connect()
        assert "secret" not in str(refused.value)
        blocking = endpoint.blocking_connection(1.0, asyncio.get_running_loop())
        with pytest.raises(RedisError, match=said):
            await asyncio.to_thread(blocking.connect)


@pytest.mark.parametrize(
    ("error", "unavailable", "elsewhere"),
    [
        (MovedError("7 10.0.0.1:7001"), True, True),
        (AskError("7 10.0.0.1:7001"), True, False),
        (TryAgainError("Multiple keys request during rehashing of slot"), True, False),
        (ClusterDownError("The cluster is down"), True, True),
        (ReadOnlyError("You can't write against a read only replica."), True, True),
        (ResponseError("ERR @user_script: 3: -READONLY You can't write ..."), True, True),
        (ResponseError("ERR Script attempted to access a non local key in ..."), True, False),
        (ResponseError("WRONGTYPE Operation against a key"), False, False),
    ],
)
def test_what_a_cluster_answers_is_waited_out_or_followed(
    error: RedisError, unavailable: bool, elsewhere: bool
) -> None:
    endpoint = Endpoint("redis+cluster://h")
    assert endpoint.is_unavailable(error) is unavailable
    assert endpoint.is_elsewhere(error) is elsewhere


def test_a_redirection_is_an_error_to_who_did_not_say_that_it_is_a_cluster() -> None:
    endpoint = Endpoint("redis://h")
    assert not endpoint.is_unavailable(MovedError("7 10.0.0.1:7001"))
    assert not endpoint.is_elsewhere(MovedError("7 10.0.0.1:7001"))


@pytest.mark.parametrize(
    ("url", "elsewhere"), [("redis+sentinel://h/main", True), ("redis://h", False)]
)
@pytest.mark.parametrize("place", ["", "ERR Error running script: @user_script:9: -"])
def test_a_primary_without_its_replica_is_left_where_sentinels_know_of_another(
    url: str, elsewhere: bool, place: str
) -> None:
    error = ResponseError(f"{place}NOREPLICAS Not enough good replicas to write.")
    assert Endpoint(url).is_unavailable(error)
    assert Endpoint(url).is_elsewhere(error) is elsewhere


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (TimeoutError(), "no answer"),
        (OSError("Error UNKNOWN while writing to socket. Connection lost."), "Connection lost."),
        (OSError("Error 32 while writing to socket. Broken pipe."), "Error 32"),
    ],
)
def test_what_kept_the_server_away_is_told_in_words(cause: Exception, told: str) -> None:
    assert str(Endpoint("redis://h:1/0").unavailable("call", cause)).startswith(
        f"call on redis://h:1/0: {told}"
    )


def test_of_a_socket_that_is_not_there_it_is_told_when_it_is() -> None:
    missing = OSError("Error 2 connecting to unix socket: /r.sock. No such file or directory.")
    told = str(Endpoint("unix:///r.sock").unavailable("connect", missing))
    assert told.endswith("(that of an embedded server is there while its owner runs)")
