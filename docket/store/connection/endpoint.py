"""The endpoint: connections to a server by its URL, and the meaning of its errors."""

import asyncio
import re
from collections.abc import Callable
from typing import Any, cast

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import Connection as BlockingConnection
from redis.connection import ConnectionInterface
from redis.connection import SSLConnection as BlockingSSLConnection
from redis.connection import UnixDomainSocketConnection as BlockingUnixDomainSocketConnection
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry as BlockingRetry

from docket.errors import NotPermitted, ServerUnavailable
from docket.store.connection.after_fork import silence_in_forks
from docket.store.connection.credentials import Credentials, ProviderFailed, ThreadCredentials
from docket.store.connection.discovery import (
    ClusterLocator,
    DiscoveringBlockingConnection,
    DiscoveringConnection,
    Locator,
    SentinelLocator,
)
from docket.store.connection.introduction import introduced
from docket.store.connection.replies import CLOSED, ParseError, Replies
from docket.store.connection.urls import ServerUrl, parse
from docket_display.redaction import without_password

#: Time limit for connecting, handshake included, in seconds.
CONNECT_SECONDS = 5.0
#: A connection lost within this time, in seconds, counts as refused: a server with too many clients
#: accepts and closes connections, and so does a proxy whose server is away.
STEADY_SECONDS = 2.0

#: Error replies of a server that cannot serve now but may later: those with a class in redis-py,
_UNAVAILABLE = (
    BusyLoadingError,
    ReadOnlyError,
    MasterDownError,
    OutOfMemoryError,
    ClusterDownError,
    TryAgainError,
)
#: and the codes of the rest, also as 6.2 quotes them for a call inside a script, and the errors of
#: a script while its slot is migrating or its cluster is down.
_UNAVAILABLE_CODES = re.compile(
    r"(^|-)(LOADING|READONLY|MASTERDOWN|MISCONF|OOM|CLUSTERDOWN|TRYAGAIN|NOREPLICAS|BUSY) "
    r"|attempted to (access a non local key|execute a (write )?command while the cluster is down)"
)
_READONLY_IN_A_SCRIPT = re.compile(r"-READONLY ")
#: A primary without replicas: under sentinels it may have been replaced without knowing it yet.
_ABANDONED = re.compile(r"(^|-)NOREPLICAS ")
#: The errors for a script whose user lacks a permission: since 7.0, before 7.0.
_DENIED_IN_A_SCRIPT = re.compile(
    r"NOPERM |ACL failure in script|user executing the script can't (run|access|publish)"
)
#: redis-py's messages for a connection closed by the peer.
_HUNG_UP = re.compile(r"(?i)closed by server|broken pipe|connection (lost|reset)")


def is_unavailable(error: RedisError) -> bool:
    """Return whether an error reply means that the server cannot serve now, not a wrong call."""
    return isinstance(error, _UNAVAILABLE) or bool(_UNAVAILABLE_CODES.search(str(error)))


def is_denied(error: BaseException) -> bool:
    """Return whether an error reply means that the user lacks a permission."""
    return isinstance(error, NoPermissionError) or (
        isinstance(error, RedisError) and bool(_DENIED_IN_A_SCRIPT.search(str(error)))
    )


async def connect(connection: AbstractConnection) -> None:
    """Connect, unless the connection is open.

    redis-py limits only the time to open the socket, and waits without limit for the handshake.

    Raises:
        RedisError, OSError: refused, or not done within CONNECT_SECONDS.
    """
    hidden: RedisError | None = None
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await connection.connect()
    except RedisConnectionError as error:
        # On a Unix socket redis-py wraps what fails in the handshake: a login, a provider.
        if not isinstance(error.__cause__, RedisError):
            raise
        hidden = error.__cause__
    if hidden is not None:
        raise hidden
    silence_in_forks(connection)


class DirectWrites(AbstractConnection):
    """A connection that can be written to without awaiting.

    There is no flow control: whoever writes awaits replies, or has little to say.
    """

    def write_now(self, data: bytes) -> None:
        """Write to the transport; a broken one is noticed by the reader."""
        assert self._writer is not None
        # uvloop's transports raise on a write after they are closed.
        if not self._writer.is_closing():
            self._writer.write(data)

    def send_now(self, *commands: tuple[str | bytes | float, ...]) -> None:
        """Write commands, all at once; a broken connection is noticed by the reader."""
        self.write_now(b"".join(self.pack_commands(commands)))

    def read_by(self, take: Callable[[Any], None]) -> Replies:
        """Have each reply taken as it arrives, from now on; `read_response` waits in vain then.

        Raises:
            RedisConnectionError: the server has closed the connection.
        """
        assert self._reader is not None
        assert self._writer is not None
        # Its end is told once, and has been told to the stream.
        if self._reader.at_eof() or self._writer.is_closing():
            raise RedisConnectionError(CLOSED)
        # redis-py leaves its types open.
        replies = Replies(take, cast("ParseError", cast("Any", self._parser).parse_error))
        self._writer.transport.set_protocol(replies)
        return replies

    def abort(self) -> None:
        """Close at once; the reader gets an error."""
        if self._writer is not None:
            self._writer.transport.abort()


class Endpoint:
    """A server, and the factory of this process's connections to it.

    redis-py's own retries are off for all of them: it repeats calls silently, and an INCR whose
    reply was lost ran twice. The caller decides about a repetition.

    With a cluster or sentinels, each connection locates the server when it connects.

    Args:
        url: the URL; not memory:// or embedded://, whose servers have a unix:// URL.
        credentials: those of a provider, asked at every connect; the URL has none then.
        slot: the slot of the keys in use, in a cluster: connections go to the node that serves it.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials | None = None,
        *,
        slot: int = 0,
    ) -> None:
        self._url = parse(url)
        self._credentials = credentials
        self.display_url = without_password(url)
        #: The options of the URL, for the client that users get.
        self._client_options = {"protocol": 2, **self._url.options}
        self._client_options.setdefault("socket_connect_timeout", CONNECT_SECONDS)
        if credentials is not None:
            self._client_options["credential_provider"] = credentials
        #: For our own connections: the URL does not decide how replies are read or calls repeated.
        self._options = {
            **introduced(self._client_options),
            "protocol": 2,
            "decode_responses": False,
            "encoding": "utf-8",
            "encoding_errors": "strict",
            "retry_on_timeout": False,
            "health_check_interval": 0,
        }
        self._options.pop("max_connections", None)
        locator = _locator_of(self._url, self._options, slot)
        self._connection_class = _located(
            _connection_class(self._url), DiscoveringConnection, locator
        )
        self._direct_class: type[Any] = type("Direct", (DirectWrites, self._connection_class), {})
        self._blocking_class = _located(
            _blocking_class(self._url), DiscoveringBlockingConnection, locator
        )

    @property
    def is_cluster(self) -> bool:
        """True if the server is a cluster, of which one node serves the keys in use."""
        return self._url.topology == "cluster"

    def connection(self) -> AbstractConnection:
        """Return a new connection, not yet open, without a time limit on reads."""
        return self._connection_class(**self._options_of_ours())

    def direct_connection(self) -> DirectWrites:
        """Return a new connection, not yet open, that can be written to without awaiting."""
        return self._direct_class(**self._options_of_ours())

    def client(self) -> Redis:
        """Return redis-py's client for the user's own commands.

        In a cluster it is a RedisCluster, which has the commands of Redis without being a subclass.
        """
        if self.is_cluster:
            nodes = [ClusterNode(host, port) for host, port in self._url.hosts]
            cluster: Any = RedisCluster
            options = {**self._client_options, "ssl": self._url.tls, "startup_nodes": nodes}
            return cast("Redis", cluster(**options))
        # redis-py leaves the types of the options open.
        pool: Any = ConnectionPool
        options = {**introduced(self._client_options), "retry": Retry(NoBackoff(), 0)}
        return Redis.from_pool(pool(self._connection_class, **options))

    def blocking_connection(
        self, timeout_seconds: float, loop: asyncio.AbstractEventLoop
    ) -> ConnectionInterface:
        """Return a connection for a thread.

        Args:
            timeout_seconds: the limit of every read and write.
            loop: the loop on which a credential provider is asked.
        """
        retry = BlockingRetry(NoBackoff(), 0)
        options = {**self._options, "socket_timeout": timeout_seconds, "retry": retry}
        if self._credentials is not None:
            options["credential_provider"] = ThreadCredentials(self._credentials, loop)
        return self._blocking_class(**options)

    def _options_of_ours(self) -> dict[str, Any]:
        return {**self._options, "socket_timeout": None, "retry": Retry(NoBackoff(), 0)}

    def is_unavailable(self, error: RedisError) -> bool:
        """Return whether an error reply means that the server cannot serve now.

        A redirection counts too: a docket's keys are all in one slot, so after an ASK for one of
        them the call is repeated until the slot has moved with all of them.
        """
        return is_unavailable(error) or (self.is_cluster and isinstance(error, AskError))

    def is_elsewhere(self, error: RedisError) -> bool:
        """Return whether an error reply means that a new connection would find another server.

        A node that reports its cluster as down may be cut off from those that go on. A primary
        learns only seconds later from the sentinels that it was replaced, but notices at once that
        its replica has left.
        """
        if isinstance(error, ReadOnlyError) or _READONLY_IN_A_SCRIPT.search(str(error)):
            return True
        if self._url.topology == "sentinel" and _ABANDONED.search(str(error)):
            return True
        return self.is_cluster and isinstance(error, MovedError | ClusterDownError)

    def unavailable(self, operation: str, cause: object) -> ServerUnavailable:
        """Return the error for an operation that failed because the server is unavailable."""
        return ServerUnavailable(f"{operation} on {self.display_url}: {self.explained(cause)}")

    def explained(self, cause: object) -> str:
        """Return the text of a cause, with a remedy where the server's message has none."""
        if isinstance(cause, AuthenticationError):
            whose = "URL" if self._credentials is None else "credential provider"
            return f"{cause} (the server refuses the user or password of the {whose}, or wants one)"
        if isinstance(cause, ProviderFailed):
            return str(cause)
        # With TLS 1.3 a server asks for the certificate after the client's handshake has succeeded.
        if self._url.tls and "ssl_certfile" not in self._options and _HUNG_UP.search(str(cause)):
            return f"{cause} (if it wants a client certificate: ssl_certfile= and ssl_keyfile=)"
        if self._url.unix and "No such file or directory" in str(cause):
            return f"{cause} (that of an embedded server is there while its owner runs)"
        # redis-py adds a prefix to an error without a number, and the kernel's timeout has no text.
        return str(cause).removeprefix("Error UNKNOWN while writing to socket. ") or "no answer"

    def denied(self, operation: str, error: BaseException) -> NotPermitted | None:
        """Return the error for an operation that the user lacks the permission for, or None.

        Args:
            operation: the operation, for the message.
            error: the reply of the server.
        """
        if not is_denied(error):
            return None
        return NotPermitted(
            f"{operation} on {self.display_url} is forbidden: {error}. Give the user of the URL "
            "the permissions that docs/operations/security.md lists (Least privilege); ACL LOG on "
            "the server tells what was missing"
        )


def _connection_class(url: ServerUrl) -> type[AbstractConnection]:
    if url.unix:
        return UnixDomainSocketConnection
    return SSLConnection if url.tls else Connection


def _blocking_class(url: ServerUrl) -> type[ConnectionInterface]:
    if url.unix:
        return BlockingUnixDomainSocketConnection
    return BlockingSSLConnection if url.tls else BlockingConnection


def _located(one: type[Any], how: type[Any], locator: Locator | None) -> type[Any]:
    """Return a connection class that asks the locator, if there is one."""
    if locator is None:
        return one
    return type(f"Discovering{one.__name__}", (how, one), {"locator": locator})


def _locator_of(url: ServerUrl, options: dict[str, Any], slot: int) -> Locator | None:
    if url.topology == "cluster":
        return ClusterLocator(url.hosts, options, tls=url.tls, slot=slot)
    if url.topology == "one":
        return None
    # Sentinels have users and passwords of their own, and no databases.
    not_theirs = ("username", "password", "credential_provider", "db")
    theirs = {name: value for name, value in options.items() if name not in not_theirs}
    return SentinelLocator(
        url.hosts, {**theirs, **url.sentinel_options}, tls=url.tls, primary=url.primary
    )
