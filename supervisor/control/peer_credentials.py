"""The process and the user at the other end of a Unix socket, by the kernel."""

import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

#: struct ucred: pid, uid, gid.
_UCRED: Final = struct.Struct("iII")
#: macOS: the level and the option for a struct xucred, which begins with its version and the uid.
_SOL_LOCAL: Final = 0
_LOCAL_PEERCRED: Final = 1
_XUCRED: Final = struct.Struct("II")
_XUCRED_BYTES: Final = 76


class HasSockopt(Protocol):
    """A connected socket, or what an event loop shows of one."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes:
        """Read an option, as socket.socket does."""
        ...


class Credentials(Struct, frozen=True):
    """A process and its user when it connected; None for those that the system does not give."""

    pid: int | None = None
    uid: int | None = None

    def __str__(self) -> str:
        known = [f"{name} {value}" for name, value in (("pid", self.pid), ("uid", self.uid))]
        return f"a client ({', '.join(known)})"

    def owns(self, path: os.PathLike[str]) -> bool:
        """Tell whether its user is that of a file."""
        try:
            return self.uid == Path(path).stat().st_uid
        except OSError:
            return False

    @property
    def is_trusted(self) -> bool:
        """Tell whether it may command this process: its own user may, and root."""
        return self.uid in (os.geteuid(), 0)


def of_linux(connected: HasSockopt) -> Credentials:
    """Read the credentials by SO_PEERCRED."""
    option: int = getattr(socket, "SO_PEERCRED", 17)
    pid, uid, _ = _UCRED.unpack(connected.getsockopt(socket.SOL_SOCKET, option, _UCRED.size))
    return Credentials(pid, uid)


def of_macos(connected: HasSockopt) -> Credentials:
    """Read the credentials by LOCAL_PEERCRED, which has no pid."""
    found = connected.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED_BYTES)
    _, uid = _XUCRED.unpack_from(found)
    return Credentials(None, uid)


#: The way of this system.
credentials_of: Callable[[HasSockopt], Credentials] = (
    of_linux if hasattr(socket, "SO_PEERCRED") else of_macos
)
