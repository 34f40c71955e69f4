"""Where the server is: a URL turned into connections, and how long to wait between two tries."""

import asyncio
import random
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

from redis import ConnectionPool as SyncConnectionPool
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import ConnectionInterface
from redis.credentials import CredentialProvider
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.retry import Retry as SyncRetry

from docket.errors import ServerUnavailable
from docket.store import embedded

ACCEPTED = (
    "redis://[[user]:password@]host[:port][/db], rediss://..., unix:///path/to.sock, "
    "memory://[name], embedded:///folder"
)
# redis-py leaves the types of the keyword arguments open.
_pool_from_url: Callable[..., ConnectionPool] = cast("Any", ConnectionPool).from_url
_sync_pool_from_url: Callable[..., SyncConnectionPool] = cast("Any", SyncConnectionPool).from_url

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_SCHEMES = frozenset({"redis", "rediss", "unix", "valkey", "valkeys", "memory", "embedded"})

#: How long connecting may take, greeting included, in seconds.
CONNECT_SECONDS = 5.0
#: Longest wait between two connection attempts, in seconds.
BACKOFF_CAP_SECONDS = 2.0
#: What the first wait is drawn from, in seconds; it doubles.
BACKOFF_BASE_SECONDS = 0.05

#: Error replies of a server that cannot serve now, and may later: what redis-py has a class for,
_UNAVAILABLE = (
    BusyLoadingError,
    ReadOnlyError,
    MasterDownError,
    OutOfMemoryError,
    ClusterDownError,
    TryAgainError,
)
#: and the codes of the rest, which is also how 6.2 quotes the error of a call inside a script.
_UNAVAILABLE_CODES = re.compile(
    r"(^|-)(LOADING|READONLY|MASTERDOWN|MISCONF|OOM|CLUSTERDOWN|TRYAGAIN|NOREPLICAS|BUSY) "
)


def backoff_seconds(failures: int) -> float:
    """How long to wait before the next attempt: exponential with full jitter, so that the
    workers of a pool do not come back all at once.

    Args:
        failures: how many attempts failed in a row, 1 or more.
    """
    ceiling = min(BACKOFF_CAP_SECONDS, BACKOFF_BASE_SECONDS * 2 ** min(failures - 1, 10))
    return random.uniform(ceiling / 4, ceiling)


def without_password(url: str) -> str:
    """The URL as it may be shown: `user:***@host`, and no query, which may hold secrets too."""
    parts = urlsplit(url)
    netloc = parts.netloc
    if "@" in netloc:
        credentials, host = netloc.rsplit("@", 1)
        user = credentials.split(":", 1)[0]
        netloc = f"{user}:***@{host}" if ":" in credentials else f"***@{host}"
    return urlunsplit((parts.scheme, netloc, parts.path, "", ""))


def validate_url(url: str) -> None:
    """Check the form of a URL without connecting.

    Raises:
        ValueError: the scheme is unknown or the URL malformed; the message shows what is
            accepted, and never the password.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        # Not quoted: without a scheme, a URL may begin with the password.
        raise ValueError(f"URL has no scheme. Accepted: {ACCEPTED}")
    if scheme not in _SCHEMES:
        raise ValueError(f"URL with scheme {scheme[:20]!r} is not known. Accepted: {ACCEPTED}")
    if embedded.is_embedded(url):
        return
    try:
        _connection_options(url)
    except (ValueError, TypeError):
        # `from None`: redis-py's own message may quote the URL.
        raise ValueError(f"{scheme}:// URL is malformed. Accepted: {ACCEPTED}") from None


def _connection_options(url: str) -> Mapping[str, Any]:
    return _pool_from_url(_redis_scheme(url)).connection_kwargs


def _redis_scheme(url: str) -> str:
    scheme, rest = url.split("://", 1)
    return {"valkey": "redis", "valkeys": "rediss"}.get(scheme, scheme) + "://" + rest


def is_unavailable(error: RedisError) -> bool:
    """Whether an error reply says that the server cannot serve now, not that the call is wrong."""
    return isinstance(error, _UNAVAILABLE) or bool(_UNAVAILABLE_CODES.search(str(error)))


async def connect(connection: AbstractConnection) -> None:
    """Connect, unless it is connected.

    redis-py bounds the opening of the socket and waits for ever for the answer to its greeting.

    Raises:
        RedisError, OSError: refused, or not done within CONNECT_SECONDS.
    """
    async with asyncio.timeout(CONNECT_SECONDS):
        await connection.connect()


class DirectWrites(AbstractConnection):
    """A connection that can be written to without awaiting: the pipeline bounds what is in flight
    by its callers, each of which awaits its reply."""

    def write_now(self, data: bytes) -> None:
        """Hand bytes to the transport. A broken one is noticed by whoever reads."""
        assert self._writer is not None
        # uvloop's transports raise on a write when they are closed.
        if not self._writer.is_closing():
            self._writer.write(data)

    def abort(self) -> None:
        """Close at once; whoever reads finds the connection closed."""
        if self._writer is not None:
            self._writer.transport.abort()


@cache
def _with_direct_writes(connection_class: type[AbstractConnection]) -> type[DirectWrites]:
    return type(f"Direct{connection_class.__name__}", (DirectWrites, connection_class), {})


class Endpoint:
    """One server, as the connections of this process reach it.

    redis-py's own retries are off for all of them: it sends again silently, and an INCR whose
    reply was lost ran twice. What is sent again is decided by who made the call.

    Args:
        url: what to connect to; not memory:// or embedded://, which `resolve` turns into unix://.
        credential_provider: redis-py's, asked at every connect.
    """

    def __init__(self, url: str, credential_provider: CredentialProvider | None = None) -> None:
        self._url = _redis_scheme(url)
        self._credential_provider = credential_provider
        self.display_url = without_password(url)

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"socket_connect_timeout": CONNECT_SECONDS, "protocol": 2}
        if self._credential_provider is not None:
            options["credential_provider"] = self._credential_provider
        return options

    def connection(self) -> AbstractConnection:
        """A connection that is not connected yet, with no time limit on reads."""
        pool = _pool_from_url(
            self._url, socket_timeout=None, retry=Retry(NoBackoff(), 0), **self._options()
        )
        return pool.make_connection()

    def direct_connection(self) -> DirectWrites:
        """As `connection`, for the pipeline."""
        pool = _pool_from_url(
            self._url, socket_timeout=None, retry=Retry(NoBackoff(), 0), **self._options()
        )
        return _with_direct_writes(pool.connection_class)(**pool.connection_kwargs)

    def client(self) -> Redis:
        """redis-py's client, for what users do with Redis themselves."""
        pool = _pool_from_url(self._url, retry=Retry(NoBackoff(), 0), **self._options())
        return Redis.from_pool(pool)

    def blocking_connection(self, timeout_seconds: float) -> ConnectionInterface:
        """A connection for a thread; every read and write is bounded by the timeout."""
        pool = _sync_pool_from_url(
            self._url,
            socket_timeout=timeout_seconds,
            retry=SyncRetry(NoBackoff(), 0),
            **self._options(),
        )
        return pool.make_connection()

    def unavailable(self, operation: str, cause: object) -> ServerUnavailable:
        """The error for an operation that the server's absence prevented."""
        return ServerUnavailable(f"{operation} on {self.display_url}: {cause}")
