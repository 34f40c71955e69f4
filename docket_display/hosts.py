"""The names under which an HTTP endpoint may be asked for what it tells about a pool (pure).

A page in somebody's browser reaches an endpoint that listens on a loopback or a private address, by
a name of its own that leads there (DNS rebinding), and the browser says that name.
"""

import ipaddress
import re
from collections.abc import Collection, Iterable

#: What may stand behind a name: `localhost:80@example.com` is no name of this machine.
_PORT = re.compile(r"(:\d*)?", re.ASCII)


class AllowedHosts:
    """The names for the Host header, besides addresses and localhost.

    Args:
        names: in any case, with or without a port; "*" allows every name.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = {_plain(each) for each in names}

    def allow(self, headers: Iterable[str]) -> bool:
        """Return whether all values of a request's Host headers are allowed; none is fine."""
        return "*" in self._names or all(map(self._allows, headers))

    def _allows(self, host: str) -> bool:
        name = _plain(host)
        if name in self._names or name == "localhost":
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        # A browser sends the name that it was given: an address is no foreign name.
        return True


def _plain(host: str) -> str:
    """Return the name or address: without port, brackets and the dot of the root."""
    name = host.strip().lower()
    if name.startswith("["):
        address, _, port = name[1:].partition("]")
        return address if _PORT.fullmatch(port) else name
    if name.count(":") == 1:
        before, colon, port = name.partition(":")
        name = before if _PORT.fullmatch(colon + port) else name
    return name.removesuffix(".")
