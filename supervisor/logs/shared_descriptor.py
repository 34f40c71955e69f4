"""Whole writes to a descriptor that several processes write to: the stderr of a pool.

A write of more than PIPE_BUF bytes to a pipe may be torn by another process's, so each piece is
written under an fcntl lock on the descriptor itself. (flock would not do: it belongs to the open
file, which all our processes share; an fcntl lock belongs to a process.)

A process may fall silent with the lock in its hand: it is stopped, or C code of a task takes the
GIL from the thread that writes. Then the log of the whole pool would end, the line that names the
culprit included; so the others write past a holder that writes nothing while the reader reads. To
notice it they ask for the lock again and again instead of waiting in the kernel, which would give
it to them in turn. Therefore they show that they wait, and who writes much lets them in.
"""

import contextlib
import fcntl
import os
import select
import time
from collections.abc import Iterator
from enum import Enum, auto

from msgspec import Struct

#: A holder of the lock that has written nothing for so long, while there was room, is silent.
SILENT_HOLDER_SECONDS = 0.5
#: The lock is asked for again at first after the shorter of these times, in the end after the
#: longer one, for which who has written lets those in that wait.
_RETRY_SECONDS = (0.0005, 0.004)

#: Bytes that are locked, not read or written: of the lock, and those of which each process that
#: waits for it locks one.
_LOCK_BYTE, _FIRST_WAITING_BYTE = 0, 1

#: Each open file has a number that all our processes share, that outlives each of them, and that
#: nobody uses on stderr: the signal for O_ASYNC. We count the writes in it, as a sequence lock
#: does: odd while one is under way. An odd one under the lock is that of a process that was killed
#: in the middle of a long line, which the next one would continue (or just after it, and then there
#: is an empty line); one that does not change is that of a holder who does not write. Processes
#: that have opened the same file by themselves do not see each other's, and wait for each other.
_UNFINISHED = 1
_MARKS = 64  # as many as there are signals


class _Turn(Enum):
    """Whether a process may write."""

    #: It has the lock, or there are none.
    OWN = auto()
    #: Past a silent holder.
    PAST = auto()
    #: Its time was up.
    NONE = auto()


class _SilentHolder(Struct):
    """The holder of a lock that has proved silent, by file and mark: it is not waited for again."""

    inode: int = -1
    mark: int | None = None
    #: Whether we have parted our lines from the one that it has not finished.
    is_parted: bool = False


_silent_holder = _SilentHolder()


def write(fd: int, data: bytes, patience_seconds: float | None = None) -> bool:
    """Write all of `data` in one piece; return whether that was possible.

    Arguments:
        fd: may be blocking or not, closed, or without a reader.
        data: whole lines.
        patience_seconds: time to wait for the reader; None: for ever. If it ends in the middle of
            a long piece, the rest is lost.
    """
    deadline = None if patience_seconds is None else time.monotonic() + patience_seconds
    turn = _turn(fd, deadline)
    if turn is not _Turn.OWN:
        return turn is _Turn.PAST and _write_past(fd, data, deadline)
    _silent_holder.inode = -1  # whoever it was has let go of the lock
    is_awaited = False
    try:
        written = _write_marked(fd, data, deadline)
        # A process without a thread is not held up: it writes a line now and then.
        is_awaited = deadline is None and _is_awaited(fd)
    finally:
        # Closed while the write waited: the lock went with it.
        with contextlib.suppress(OSError, ValueError):
            fcntl.lockf(fd, fcntl.LOCK_UN, 1, _LOCK_BYTE)
    if is_awaited:
        time.sleep(_RETRY_SECONDS[1])
    return written


# The lock ---------------------------------------------------------------------------------


def _turn(fd: int, deadline: float | None) -> _Turn:
    try:
        return _Turn.OWN if _takes(fd, 1, _LOCK_BYTE) else _wait_for_turn(fd, deadline)
    except (OSError, ValueError):
        # Closed, or on a file system without locks: a torn line is better than none.
        return _Turn.OWN


def _wait_for_turn(fd: int, deadline: float | None) -> _Turn:
    """Wait for the lock, or until its holder proves silent, or for the deadline."""
    own_byte = os.getpid()
    pause, longest = _RETRY_SECONDS
    mark, silent_since = _mark(fd), time.monotonic()
    try:
        while True:
            last, mark, now = mark, _mark(fd), time.monotonic()
            if mark is None or mark != last:
                silent_since = now
            elif not _has_room(fd, now):
                # The holder waits for the reader, as we would in its place.
                _has_room(fd, deadline)
                silent_since, pause = time.monotonic(), _RETRY_SECONDS[0]
            elif _is_silent(fd, mark, now - silent_since):
                return _Turn.PAST
            if deadline is not None and now >= deadline:
                return _Turn.NONE
            _takes(fd, 1, own_byte)
            time.sleep(pause)
            pause = min(2 * pause, longest)
            if _takes(fd, 1, _LOCK_BYTE):
                return _Turn.OWN
    finally:
        with contextlib.suppress(OSError):
            fcntl.lockf(fd, fcntl.LOCK_UN, 1, own_byte)


def _is_silent(fd: int, mark: int, seconds: float) -> bool:
    inode = os.fstat(fd).st_ino
    if (inode, mark) == (_silent_holder.inode, _silent_holder.mark):
        return True
    if seconds < SILENT_HOLDER_SECONDS:
        return False
    _silent_holder.inode, _silent_holder.mark, _silent_holder.is_parted = inode, mark, False
    return True


def _takes(fd: int, length: int, start: int) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _is_awaited(fd: int) -> bool:
    """Return True if another process shows that it waits for the lock."""
    with contextlib.suppress(OSError, ValueError):
        if not _takes(fd, 0, _FIRST_WAITING_BYTE):  # 0: of any length
            return True
        fcntl.lockf(fd, fcntl.LOCK_UN, 0, _FIRST_WAITING_BYTE)
    return False


# The mark ---------------------------------------------------------------------------------


def _mark(fd: int) -> int | None:
    """The number of the open file; None where there is none."""
    try:
        return fcntl.fcntl(fd, fcntl.F_GETSIG)
    except (AttributeError, OSError, ValueError):
        return None


def _set_mark(fd: int, mark: int) -> None:
    with contextlib.suppress(AttributeError, OSError, ValueError):
        fcntl.fcntl(fd, fcntl.F_SETSIG, mark)


# Writing ----------------------------------------------------------------------------------


def _write_marked(fd: int, data: bytes, deadline: float | None) -> bool:
    before = _mark(fd) or 0
    if before & _UNFINISHED:
        data = b"\n" + data
    _set_mark(fd, before | _UNFINISHED)
    left = _write_all(fd, memoryview(data), deadline)
    if left == len(data):
        _set_mark(fd, before)
    elif left == 0:
        _set_mark(fd, ((before | _UNFINISHED) + 1) % _MARKS)
    return left == 0


def _write_past(fd: int, data: bytes, deadline: float | None) -> bool:
    """Write without the lock, in pieces that a pipe keeps whole; the mark is the holder's."""
    if (_mark(fd) or 0) & _UNFINISHED and not _silent_holder.is_parted:
        data = b"\n" + data
        _silent_holder.is_parted = True
    return all(not _write_all(fd, memoryview(piece), deadline) for piece in _pieces(data))


def _pieces(data: bytes) -> Iterator[bytes]:
    """Cut lines into pieces of PIPE_BUF bytes at most, or of one longer line."""
    start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + select.PIPE_BUF) + 1
        if end == 0:
            end = data.find(b"\n", start) + 1 or len(data)
        yield data[start:end]
        start = end


def _write_all(fd: int, data: memoryview, deadline: float | None) -> int:
    """Write the data, and return the number of bytes that could not be written."""
    # A descriptor that poll reports as writable takes this much without blocking.
    most = len(data) if deadline is None else select.PIPE_BUF
    while data:
        try:
            if not _has_room(fd, deadline):
                break
            data = data[os.write(fd, data[:most]) :]
        except BlockingIOError:
            continue  # stderr was given to us non-blocking, and another process was faster
        except (OSError, ValueError):
            break  # closed, or the reader is gone
    return len(data)


def _has_room(fd: int, deadline: float | None) -> bool:
    """Wait until the descriptor takes data; return False if it does not until then."""
    poller = select.poll()
    poller.register(fd, select.POLLOUT)
    milliseconds = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
    return bool(poller.poll(milliseconds))
