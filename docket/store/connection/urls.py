"""The URL of a server, a cluster, or the sentinels that know a server: read, checked, shown."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, cast
from urllib.parse import parse_qs, unquote

from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import parse_url as _untyped_parse_url
from redis.exceptions import RedisError

from docket.store.embedded import embedded_server

ACCEPTED = (
    "redis://[[user]:password@]host[:port][/db], rediss://..., valkey://..., "
    "unix:///path/to.sock, redis+cluster://host[:port][,host[:port]...], rediss+cluster://..., "
    "redis+sentinel://host[:port][,host[:port]...]/primary[/db], rediss+sentinel://..., "
    "memory://[name], embedded:///folder"
)

REDIS_PORT = 6379
SENTINEL_PORT = 26379

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
#: One of several hosts: a name, an IPv4 address or an IPv6 address in brackets, and a port.
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:,\s]+))(?::([0-9]{1,5}))?")
#: The same as it may be shown, in a URL that is malformed otherwise.
_SHOWN_HOST = re.compile(r"(?:\[[^\]]*\]|[^\[\]:]*)(?::[0-9]*)?")
_DATABASE = re.compile(r"(?:/([0-9]*))?")
_PRIMARY = re.compile(r"/([^/]+)(?:/([0-9]*))?")
#: Ours; redis-py does not know them.
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")

# redis-py leaves the types of the options open.
_parse_url = cast("Callable[[str], dict[str, Any]]", _untyped_parse_url)

Topology = Literal["one", "cluster", "sentinel"]


class Address(NamedTuple):
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """A URL that was read. Made by `parse`.

    Attributes:
        topology: whether `options` name the server, or who tells where it is must be asked.
        tls: whether connections are encrypted.
        unix: whether it is a socket of this machine.
        options: of every connection to the server, as redis-py names them. They may hold a
            password.
        hosts: whom to ask: nodes of the cluster, or sentinels.
        primary: what the sentinels call the server.
        sentinel_options: of connections to sentinels: their own user and password.
    """

    topology: Topology
    tls: bool
    unix: bool
    options: Mapping[str, Any] = field(repr=False)
    hosts: tuple[Address, ...] = ()
    primary: str = ""
    sentinel_options: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


def without_password(url: str) -> str:
    """The URL as it may be shown: `user:***@host`, and no query, which may hold secrets too.

    Also of a URL that cannot be read: what may be a part of a password is not shown.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***"
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    beyond = rest[len(authority) :]
    if authority and "@" in beyond:
        # A password with / ? or # in it that is not escaped: where it ends is anybody's guess.
        return f"{scheme}://***"
    credentials, at, hosts = authority.rpartition("@")
    if not all(_SHOWN_HOST.fullmatch(host) for host in hosts.split(",")):
        hosts = "***"  # no port: what stands there may be a password whose @host was forgotten
    user, colon, _ = credentials.partition(":")
    hidden = f"{user}:***" if colon else "***" if at else ""
    path = re.split(r"[?#]", beyond, maxsplit=1)[0]
    return f"{scheme}://{hidden}{at}{hosts}{path}"


def validate_url(url: str) -> None:
    """Check the form of a URL without connecting.

    Raises:
        ValueError: the scheme is unknown or the URL malformed; the message shows what is
            accepted, and never the password.
    """
    if not embedded_server.is_embedded(url):
        parse(url)


def is_cluster(url: str) -> bool:
    """Whether the server is a cluster, of which one node serves the keys of a docket."""
    return parse(url).topology == "cluster"


def parse(url: str) -> ServerUrl:
    """Read the URL of a server that is there already: not memory://, not embedded://.

    Raises:
        ValueError: as `validate_url` says.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        # Not quoted: without a scheme, a URL may begin with the password.
        raise ValueError(f"URL has no scheme. Accepted: {ACCEPTED}")
    read = _READERS.get(scheme.lower())
    if read is None:
        raise ValueError(f"URL with scheme {scheme[:20]!r} is not known. Accepted: {ACCEPTED}")
    try:
        return read(rest)
    except (ValueError, TypeError, RedisError):
        # `from None`: the cause may quote the URL.
        raise ValueError(f"{scheme}:// URL is malformed. Accepted: {ACCEPTED}") from None


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
    UnixDomainSocketConnection(**_for_a_connection(options))
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
    """Authority, path with its slash, and query. A fragment means nothing here."""
    before_query, _, query = rest.partition("#")[0].partition("?")
    authority, slash, path = before_query.partition("/")
    return authority, slash + path, query


def _encryption(tls: bool, query: str) -> tuple[bool, str]:
    """Whether connections are encrypted, and the query without the `ssl` that says so.

    redis-py goes by the scheme alone and knows no such option.
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
    """The credentials with their @, and every host."""
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
    """The options that redis-py reads out of a URL, tried on a connection that is not connected."""
    options = _parse_url(f"{'rediss' if tls else 'redis'}://{authority}{path}?{query}")
    options.pop("connection_class", None)
    (SSLConnection if tls else Connection)(**_for_a_connection(options))
    return options


def _for_a_connection(options: Mapping[str, Any]) -> dict[str, Any]:
    """Without what only redis-py's pools know."""
    return {name: value for name, value in options.items() if name != "max_connections"}
