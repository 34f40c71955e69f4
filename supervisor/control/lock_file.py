"""The lock file of each control socket, which tells a live supervisor's socket from a stale one.

`PATH.lock` is held by flock for as long as its supervisor lives. The kernel releases it however
that process ends, and no other process of the pool has it: neither a nursery nor a server inherits
the descriptor. A test of the lock takes it shared for a moment, so that two tests do not disturb
each other; whoever claims the path must not take such a moment for a live supervisor.
"""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path

from supervisor.control.paths import SUFFIX
from supervisor.errors import ConfigurationError

#: The beginning of every lock file of ours; others in a shared folder are left alone.
MARK = b"docket-supervisor "

#: Without blocking: the opening of a FIFO that somebody put in its place would wait for a writer.
_SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_WRITE = os.O_RDWR | os.O_CREAT | _SAFELY
_READ = os.O_RDONLY | _SAFELY


class _Holder(Enum):
    """The supervisor of a lock file."""

    ALIVE = auto()
    DEAD = auto()
    #: There is no lock file of ours.
    UNKNOWN = auto()


class Lock:
    """The lock of the control socket at `path`, held until `release`."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd

    def release(self) -> None:
        """Remove the lock file and release the lock. Twice is fine."""
        if self._fd < 0:
            return
        # While it is still held: a process that waits for it then sees that its file is gone.
        with contextlib.suppress(FileNotFoundError):
            if _is_current(self._fd, self._path):
                _file_of(self._path).unlink()
        os.close(self._fd)
        self._fd = -1


def take(path: Path) -> Lock | None:
    """Take the lock of the control socket at `path`; None while another process holds it.

    Raises:
        ConfigurationError: its file cannot be made, or is not ours.
    """
    while True:
        fd = _open(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_current(fd, path):
                os.ftruncate(fd, 0)
                os.write(fd, MARK + f"{os.getpid()}\n".encode())
                return Lock(path, fd)
        except BlockingIOError:
            os.close(fd)
            return None
        except OSError as error:
            os.close(fd)
            raise ConfigurationError(
                f"--control: cannot lock {_file_of(path)}: {error.strerror};"
                " give the path of a socket on a file system with locks, and with room"
            ) from None
        os.close(fd)  # its last owner removed it between our open and our lock


def is_live(path: Path) -> bool:
    """Tell whether a supervisor holds the lock of the control socket at `path`."""
    return _holder_of(path) is _Holder.ALIVE


def live_sockets(folder: Path) -> list[Path]:
    """List the control sockets of live supervisors in a folder, by name; ours and root's only."""
    return [path for path in _sockets(folder) if is_live(path) and _is_trusted(path)]


def sweep(folder: Path) -> None:
    """Remove the sockets and lock files of killed supervisors from a folder."""
    for path in _sockets(folder):
        if _holder_of(path) is _Holder.DEAD:
            with contextlib.suppress(ConfigurationError, OSError):
                lock = take(path)
                if lock is not None:
                    path.unlink(missing_ok=True)
                    lock.release()


def _file_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _sockets(folder: Path) -> Iterator[Path]:
    try:
        found = sorted(folder.iterdir())
    except OSError:
        return
    yield from (path for path in found if path.name.endswith(SUFFIX))


def _is_trusted(path: Path) -> bool:
    """Tell whether it is a socket of ours or of root."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and found.st_uid in (os.geteuid(), 0)


def _holder_of(path: Path) -> _Holder:
    try:
        fd = os.open(_file_of(path), _READ)
    except OSError:
        return _Holder.UNKNOWN
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode) or os.pread(fd, len(MARK), 0) != MARK:
            return _Holder.UNKNOWN
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _Holder.ALIVE
    except OSError:
        return _Holder.UNKNOWN
    finally:
        os.close(fd)
    return _Holder.DEAD


def _open(path: Path) -> int:
    file = _file_of(path)
    try:
        fd = os.open(file, _WRITE, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"--control: cannot make the lock file {file}: {error.strerror};"
            " give the path of a socket in a folder that can be written to"
        ) from None
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
        os.close(fd)
        raise ConfigurationError(
            f"--control: {file} is not a file of ours, so it cannot be the lock; remove it,"
            " or give the path of a socket elsewhere"
        )
    return fd


def _is_current(fd: int, path: Path) -> bool:
    """Tell whether the open file still is the one at its path."""
    try:
        current = _file_of(path).lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(fd), current)
