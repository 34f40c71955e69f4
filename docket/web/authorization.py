"""Authorization: this machine only, users with passwords, or the header of a trusted proxy.

An `authorize(request, action)` returns the name of who asks, True for somebody without one, or
anything false to refuse; it may be a coroutine function, and raise Starlette's HTTPException.
"""

import asyncio
import hashlib
import hmac
import inspect
import ipaddress
import os
from base64 import b64decode
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from time import monotonic

from starlette.exceptions import HTTPException
from starlette.requests import Request

from docket.web import password_hashes
from docket.web.actions import Action
from docket.web.user_file import read_users
from docket_display.hosts import AllowedHosts
from docket_display.printable import on_one_line

Answer = bool | str | None
Authorize = Callable[[Request, Action], Answer | Awaitable[Answer]]

#: The name of somebody who was not asked for one.
NOBODY = "-"
#: Most characters of a name.
_LONGEST_NAME = 200
#: A proxy adds one of these: its client is somebody else.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
#: The time for which a password that was right is not hashed again, in seconds, and the most of
#: those that are remembered.
_REMEMBERED_SECONDS, _MOST_REMEMBERED = 300.0, 1_000
#: The most tries of one address that wait for their turn: somebody who guesses is not to keep
#: others waiting for longer.
_MOST_WAITING = 8


async def authorized(authorize: Authorize, request: Request, action: Action) -> str | None:
    """Return the name of who may do it, or None.

    Raises:
        HTTPException: whatever `authorize` raises.
    """
    answer = authorize(request, action)
    if inspect.isawaitable(answer):
        answer = await answer
    if not answer:
        return None
    return on_one_line(answer[:_LONGEST_NAME]) if isinstance(answer, str) else NOBODY


def loopback_only(request: Request, action: Action) -> bool:
    """Let everybody in who asks from this machine, by its own name, and through no proxy.

    The name is compared since a page in somebody's browser can have a name of its own lead here.
    """
    hosts = request.headers.getlist("host")
    return (
        request.client is not None
        and is_loopback(request.client.host)
        and len(hosts) == 1
        and AllowedHosts(()).allow(hosts)
        and not any(name in request.headers for name in _FORWARDED)
    )


def is_loopback(address: str) -> bool:
    """Return whether an address is of this machine alone."""
    if address == "localhost":
        return True
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


class BasicUsers:
    """Ask for a name and a password (HTTP Basic); each of the users may do everything.

    Args:
        hashes: the hash of each user's password, by name; see `password_hashes`.

    Raises:
        ValueError: there is no user, or a hash is none.
    """

    def __init__(self, hashes: Mapping[str, str]) -> None:
        wrong = [name for name, kept in hashes.items() if not password_hashes.is_hash(kept)]
        if wrong or not hashes:
            who = f"that of {wrong[0]!r} is none" if wrong else "there is no user"
            raise ValueError(f"Users are given with the hashes of their passwords: {who}")
        self._hashes = dict(hashes)
        # Of nobody, so that an unknown name takes as long as a known one.
        self._decoy = password_hashes.hashed(os.urandom(16).hex())
        self._secret = os.urandom(32)
        self._remembered: OrderedDict[bytes, float] = OrderedDict()
        # One try at a time: guessing takes a core at most.
        self._one_at_a_time = asyncio.Lock()
        self._waiting: Counter[str] = Counter()

    @classmethod
    def of_file(cls, path: Path) -> "BasicUsers":
        """Read the users of a file: a line `NAME:HASH` each, lines with # left out.

        Raises:
            ValueError: a line is none of that form, or the file is refused; see `user_file`.
        """
        return cls(read_users(path))

    async def __call__(self, request: Request, action: Action) -> str:
        name, password = _credentials(request)
        address = "" if request.client is None else request.client.host
        if not await self._knows(name, password, address):
            raise HTTPException(
                401,
                "This page asks for a name and a password.",
                {"WWW-Authenticate": 'Basic realm="docket", charset="UTF-8"'},
            )
        return name

    async def _knows(self, name: str, password: str, address: str) -> bool:
        if not name:
            return False
        # With its length: else a name could be continued by what was a part of a password.
        given = f"{len(name)} {name}{password}".encode(errors="surrogatepass")
        mark = hmac.digest(self._secret, given, hashlib.sha256)
        if self._remembered.get(mark, 0.0) > monotonic():
            return True
        if await self._is_right(name, password, address):
            self._remembered[mark] = monotonic() + _REMEMBERED_SECONDS
            if len(self._remembered) > _MOST_REMEMBERED:
                self._remembered.popitem(last=False)
            return True
        return False

    async def _is_right(self, name: str, password: str, address: str) -> bool:
        if self._waiting[address] >= _MOST_WAITING:
            raise HTTPException(
                429, "Too many passwords are tried from there at once.", {"Retry-After": "1"}
            )
        kept = self._hashes.get(name, self._decoy)
        self._waiting[address] += 1
        try:
            async with self._one_at_a_time:
                is_right = await asyncio.to_thread(password_hashes.matches, password, kept)
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]
        return is_right and name in self._hashes


class TrustedHeader:
    """Believe a proxy that says in a header who asks; whoever is named may do everything.

    Args:
        header: the name of the header, such as "X-Forwarded-User".
        proxies: the addresses or networks of the proxies; by default this machine's.

    Raises:
        ValueError: an address is none.
    """

    def __init__(self, header: str, proxies: Collection[str] = ("127.0.0.1", "::1")) -> None:
        if not header:
            raise ValueError("The header that names the user must have a name")
        self._header = header
        self._proxies = [ipaddress.ip_network(each, strict=False) for each in proxies]

    def __call__(self, request: Request, action: Action) -> str | None:
        named = request.headers.getlist(self._header)
        if len(named) != 1 or not named[0].strip() or not self._is_proxy(request):
            return None
        return named[0].strip()

    def _is_proxy(self, request: Request) -> bool:
        try:
            address = ipaddress.ip_address(request.client.host if request.client else "")
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._proxies)


def _credentials(request: Request) -> tuple[str, str]:
    kind, _, encoded = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return "", ""
    try:
        name, _, password = b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return name, password
