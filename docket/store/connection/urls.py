"""The URLs of a server, a cluster, or sentinels: parsing, validation and display."""

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, NamedTuple, cast
from urllib.parse import parse_qs, unquote

from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.connection import parse_url as _untyped_parse_url
from redis.exceptions import RedisError

from docket.store.connection.introduction import introduced
from docket.store.embedded.schemes import is_embedded

ACCEPTED = (
    "redis://[[user]:password@]host[:port][/db], rediss://..., valkey://..., "
    "unix:///path/to.sock, redis+cluster://host[:port][,host[:port]...], rediss+cluster://..., "
    "redis+sentinel://host[:port][,host[:port]...]/primary[/db], rediss+sentinel://..., "
    "memory://[name], embedded:///folder"
)

REDIS_PORT = 6379
SENTINEL_PORT = 26379

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
#: A host: a name, an IPv4 address or an IPv6 address in brackets, with an optional port.
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:,\s]+))(?::([0-9]{1,5}))?")
_DATABASE = re.compile(r"(?:/([0-9]*))?")
_PRIMARY = re.compile(r"/([^/]+)(?:/([0-9]*))?")
#: Options of our own, unknown to redis-py.
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")

# redis-py leaves the types of the options open.
_parse_url = cast("Callable[[str], dict[str, Any]]", _untyped_parse_url)

#: An option that may be named in an error: what else stands there may be part of a password. No
#: option of redis-py has a digit.
_SHOWN_OPTION = re.compile(r"[a-z]+(?:_[a-z]+)*")

Topology = Literal["one", "cluster", "sentinel"]


class UnknownOption(ValueError):
    """A URL with an option that no connection has; the message names it."""


class Address(NamedTuple):
    """A host and port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """A parsed URL. Made by `parse`.

    Attributes:
        topology: a single server named by `options`, or a cluster or sentinels to ask for it.
        tls: connections are encrypted.
        unix: the server listens on a Unix socket.
        options: options of every connection to the server, by redis-py's names. They may include
            a password.
        hosts: the nodes of the cluster, or the sentinels.
        primary: the sentinels' name for the server.
        sentinel_options: options of connections to sentinels: their own user and password.
    """

    topology: Topology
    tls: bool
    unix: bool
    options: Mapping[str, Any] = field(repr=False)
    hosts: tuple[Address, ...] = ()
    primary: str = ""
    sentinel_options: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


def validate_url(url: str, *, has_provider: bool = False) -> None:
    """Check the form of a URL without connecting.

    Args:
        url: the URL.
        has_provider: the credentials come from a provider.

    Raises:
        ValueError: the scheme is unknown or the URL malformed; the message shows the accepted
            forms, and never the password. Or there are credentials in the URL beside a provider.
    """
    if is_embedded(url):
        importlib.import_module("docket.store.embedded.home").ServerIdentity.of(url)
        return
    options = parse(url).options
    if has_provider and (options.get("username") or options.get("password")):
        raise ValueError("Pass credentials in the URL or in credential_provider, not both")


def is_cluster(url: str) -> bool:
    """Return whether the server is a cluster, of which one node serves the keys of a docket."""
    return parse(url).topology == "cluster"


def parse(url: str) -> ServerUrl:
    """Parse the URL of an existing server: not memory://, not embedded://.

    Raises:
        ValueError: as `validate_url` says.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        # The URL is not quoted: without a scheme, it may begin with the password.
        raise ValueError(f"URL has no scheme. Accepted: {ACCEPTED}")
    read = _READERS.get(scheme.lower())
    if read is None:
        raise ValueError(f"URL with scheme {scheme[:20]!r} is not known. Accepted: {ACCEPTED}")
    reason = "is malformed"
    try:
        return read(rest)
    except UnknownOption as error:
        # With an @, what looks like an option may be a part of the password.
        if "@" not in rest.partition("?")[2]:
            reason = f"has {error}"
    except (ValueError, TypeError, RedisError):
        pass
    # Not in the handler: what was raised may quote the URL, and would be the context of this.
    raise ValueError(f"{scheme}:// URL {reason}. Accepted: {ACCEPTED}")


def _read_one(rest: str, *, tls: bool) -> ServerUrl:
    authority, path, query = _split(rest)
    tls, query = _encryption(tls, query)
    if not _DATABASE.fullmatch(path):
        raise ValueError("the path is the number of a database")
    return ServerUrl("one", tls, unix=False, options=_options(tls, authority, path, query))


def _read_unix(rest: str) -> ServerUrl:
    authority, path, _ = _split(rest)
    if authority.rpartition("@")[2] or not path.strip("/"):
        raise ValueError("the path of a socket is absolute")
    options = _parse_url(f"unix://{rest}")
    options.pop("connection_class")
    _try(UnixDomainSocketConnection, options)
    return ServerUrl("one", tls=False, unix=True, options=options)


def _read_cluster(rest: str, *, tls: bool) -> ServerUrl:
    authority, path, query = _split(rest)
    tls, query = _encryption(tls, query)
    credentials, hosts = _several(authority, REDIS_PORT)
    options = _options(tls, credentials + str(hosts[0]), path, query)
    if path.strip("/") not in ("", "0") or options.get("db", 0):
        raise ValueError("a cluster has the database 0 only")
    return ServerUrl("cluster", tls, unix=False, options=options, hosts=hosts)


def _read_sentinel(rest: str, *, tls: bool) -> ServerUrl:
    authority, path, query = _split(rest)
    tls, query = _encryption(tls, query)
    credentials, hosts = _several(authority, SENTINEL_PORT)
    names = _PRIMARY.fullmatch(path)
    if names is None:
        raise ValueError("the path begins with what the sentinels call the primary")
    given = parse_qs(query, keep_blank_values=True)
    theirs = {name: given[name][0] for name in _SENTINEL_OPTIONS if name in given}
    rest_of_query = "&".join(
        pair for pair in query.split("&") if pair.partition("=")[0] not in _SENTINEL_OPTIONS
    )
    return ServerUrl(
        "sentinel",
        tls,
        unix=False,
        options=_options(tls, credentials + str(hosts[0]), f"/{names[2] or ''}", rest_of_query),
        hosts=hosts,
        primary=unquote(names[1]),
        sentinel_options={name.removeprefix("sentinel_"): theirs[name] for name in theirs},
    )


_READERS: Mapping[str, Callable[[str], ServerUrl]] = {
    "redis": lambda rest: _read_one(rest, tls=False),
    "rediss": lambda rest: _read_one(rest, tls=True),
    "valkey": lambda rest: _read_one(rest, tls=False),
    "valkeys": lambda rest: _read_one(rest, tls=True),
    "unix": _read_unix,
    "redis+cluster": lambda rest: _read_cluster(rest, tls=False),
    "rediss+cluster": lambda rest: _read_cluster(rest, tls=True),
    "redis+sentinel": lambda rest: _read_sentinel(rest, tls=False),
    "rediss+sentinel": lambda rest: _read_sentinel(rest, tls=True),
}


def _split(rest: str) -> tuple[str, str, str]:
    """Split into authority, path with its slash, and query; a fragment is ignored."""
    before_query, _, query = rest.partition("#")[0].partition("?")
    authority, slash, path = before_query.partition("/")
    return authority, slash + path, query


def _encryption(tls: bool, query: str) -> tuple[bool, str]:
    """Return whether connections are encrypted, and the query without its `ssl` option.

    redis-py decides by the scheme alone and has no such option.
    """
    pairs = query.split("&")
    others = [pair for pair in pairs if pair.partition("=")[0] != "ssl"]
    requests = {pair.partition("=")[2].lower() for pair in pairs if pair not in others}
    if not requests:
        return tls, query
    if requests != {"true"} and (requests != {"false"} or tls):
        raise ValueError("ssl is true or false, and never false where the scheme says rediss")
    return requests == {"true"}, "&".join(others)


def _several(authority: str, default_port: int) -> tuple[str, tuple[Address, ...]]:
    """Return the credentials with their @, and every host."""
    credentials, at, hosts = authority.rpartition("@")
    return credentials + at, tuple(_address(text, default_port) for text in hosts.split(","))


def _address(text: str, default_port: int) -> Address:
    found = _HOST.fullmatch(text)
    if found is None:
        raise ValueError("a host is not of the form host[:port]")
    port = int(found[3] or default_port)
    if not 0 < port < 65536:
        raise ValueError("a port is between 1 and 65535")
    return Address(found[1] or found[2], port)


def _options(tls: bool, authority: str, path: str, query: str) -> dict[str, Any]:
    """Return the options that redis-py parses from a URL, tried on an unopened connection."""
    options = _parse_url(f"{'rediss' if tls else 'redis'}://{authority}{path}?{query}")
    options.pop("connection_class", None)
    _try(SSLConnection if tls else Connection, options)
    return options


def _try(connection: type[AbstractConnection], options: Mapping[str, Any]) -> None:
    """Make a connection, which is not opened, with the options. Raises as redis-py does."""
    known = _options_known_to(connection)
    # Of redis-py's pools.
    own = {name: value for name, value in options.items() if name != "max_connections"}
    unknown = [name for name in own if name not in known]
    if unknown:
        shown = [name if _SHOWN_OPTION.fullmatch(name) else "***" for name in unknown]
        difflib = importlib.import_module("difflib")  # large, and seldom of use
        close = difflib.get_close_matches(shown[0], sorted(known), 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UnknownOption(f"an unknown option {', '.join(map(repr, shown))}{hint}")
    connection(**introduced(own))


@cache
def _options_known_to(connection: type[AbstractConnection]) -> frozenset[str]:
    # Not `object`, which has none: for a function in C, inspect goes through all modules, and so
    # makes a forked worker copy a page for each.
    return frozenset(
        name
        for each in connection.__mro__[:-1]
        for name in inspect.signature(each.__init__).parameters
        if name not in ("self", "args", "kwargs")
    )
