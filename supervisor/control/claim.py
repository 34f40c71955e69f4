"""The claim to the path of a control socket: its lock, and the socket bound there.

They are taken in this order, and released in the reverse one. Once the lock is ours, a socket that
is found at the path belongs to a supervisor that died, and is replaced.
"""

import asyncio
import contextlib
import errno
import os
import socket
import stat
import time
from collections.abc import Mapping
from pathlib import Path

from supervisor.control import lock_file, paths
from supervisor.control.lock_file import Lock
from supervisor.errors import ConfigurationError, ControlInUse

#: The time for which a lock that is held is tried again while nobody listens: its holder may be a
#: supervisor that is about to listen, or a program that only tests the lock.
PATIENCE_SECONDS = 1.0
_PAUSE_SECONDS = 0.02
#: Most pools of one process, or of one pid in several containers, that may share a folder.
MOST_NAMESAKES = 100


class SocketClaim:
    """A path that is ours, and the socket bound there: not yet listening, mode 0600."""

    def __init__(self, path: Path, lock: Lock) -> None:
        self.path = path
        self._lock = lock
        try:
            self.socket = _bind(path)
            self._bound = path.lstat()
        except BaseException:
            lock.release()
            raise

    def release(self) -> None:
        """Remove the socket, then the lock. Twice is fine.

        Only our own: if the folder was cleaned up, another supervisor may have the path by now.
        """
        self.socket.close()
        with contextlib.suppress(OSError):
            if os.path.samestat(self.path.lstat(), self._bound):
                self.path.unlink()
        self._lock.release()


async def claim_given(path: str) -> SocketClaim:
    """Claim the path of `--control`.

    Raises:
        ConfigurationError: it cannot be used; ControlInUse: a live supervisor has it.
    """
    absolute = paths.given_path(path)
    lock = await _lock(absolute)
    if lock is None:
        raise ControlInUse(
            f"--control: another supervisor is running at {absolute};"
            " end it first, or give the path of another socket"
        )
    return SocketClaim(absolute, lock)


async def claim_default(docket: str, environment: Mapping[str, str]) -> SocketClaim:
    """Claim the default path for a pool of this docket.

    Raises:
        ConfigurationError: there is no folder that can be used.
    """
    first = paths.default_path(docket, os.getpid(), environment)
    lock_file.sweep(first.parent)
    for number in range(1, MOST_NAMESAKES + 1):
        path = first if number == 1 else first.with_stem(f"{first.stem}-{number}")
        lock = await _lock(path)
        if lock is not None:
            return SocketClaim(path, lock)
    raise ControlInUse(f"--control: {first} and all names after it are taken; give another path")


async def _lock(path: Path) -> Lock | None:
    """Take the lock of the path; None if a live supervisor has it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _listens(path):
        lock = lock_file.take(path)
        if lock is not None:
            return lock
        if time.monotonic() > deadline:
            return None
        # The release of a file lock is no event that could be waited for.
        await asyncio.sleep(_PAUSE_SECONDS)
    return None


def _listens(path: Path) -> bool:
    """Tell whether a process listens there, since a lock file can be removed by hand."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except BlockingIOError:
            return True  # its backlog is full
        except OSError:
            return False
    return True


def _bind(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        # Linux gives the file the socket's own mode, so it is closed to others from its first
        # moment; elsewhere it is so before anybody can connect, since nothing listens yet.
        with contextlib.suppress(OSError):
            os.fchmod(listener.fileno(), 0o600)
        listener.bind(os.fspath(path))
        path.chmod(0o600)
    except OSError as error:
        listener.close()
        reason = error.strerror or error
        raise ConfigurationError(f"--control: cannot listen at {path}: {reason}") from None
    return listener


def _remove_stale(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "there is something that is no socket")
        path.unlink()
