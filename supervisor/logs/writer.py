"""The writer of a process's log lines: whole, in order, and without blocking its loop.

A write of more than PIPE_BUF bytes to a pipe may be torn by another process's, so each piece is
written under an fcntl lock on the descriptor itself. (flock would not do: it belongs to the open
file, which all our processes share; an fcntl lock belongs to a process.) A thread writes, behind a
bounded queue: a reader that stopped reading costs lines, which are counted and reported once it
goes on, and stalls no loop. A process that may have no threads (the nursery, a fork that a task
made) writes by itself and waits a moment at most.

A process may fall silent with the lock in its hand: it is stopped, or C code of a task takes the
GIL from the thread that writes. Then the log of the whole pool would end, the line that names the
culprit included; so the others pass over a holder that writes nothing while the reader reads.
"""

import contextlib
import fcntl
import logging
import math
import os
import select
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator

from msgspec import Struct, field

#: Limits of the queue of each process: lines, and bytes of them.
QUEUE_LINES = 10_000
QUEUE_BYTES = 8 << 20
#: The time that the end of a process waits for its last lines to be read.
FLUSH_SECONDS = 2.0
#: The time that a process without a writing thread waits for its reader. Once it has passed, the
#: process does not wait again until the reader reads.
PATIENCE_SECONDS = 1.0
#: Bytes written at once, of as many lines as there are: one lock and one call for all of them.
BATCH_BYTES = 64 * 1024

#: A lock whose holder has written nothing for so long, while there was room, counts as free.
SILENT_HOLDER_SECONDS = 0.5
#: fcntl has no lock that waits for a limited time, so the lock is asked for again and again: at
#: first after the shorter of these times, in the end after the longer one.
_LOCK_RETRY_SECONDS = (0.0005, 0.02)


def write(fd: int, data: bytes, patience_seconds: float | None = None) -> bool:
    """Write all of `data` in one piece; return whether that was possible.

    Arguments:
        fd: may be blocking or not, closed, or without a reader.
        data: whole lines.
        patience_seconds: time to wait for the reader; None: for ever. If it ends in the middle of
            a long piece, the rest is lost.
    """
    deadline = None if patience_seconds is None else time.monotonic() + patience_seconds
    with _locked(fd, deadline) as free:
        if not free:
            return False
        before = _mark(fd)
        if before & _UNFINISHED:
            data = b"\n" + data
        _set_mark(fd, before | _UNFINISHED)
        left = _write_all(fd, memoryview(data), deadline)
        if left in (0, len(data)):
            _set_mark(fd, _next_mark(before))
        return left == 0


#: Each open file has a number that all our processes share, that outlives each of them, and that
#: nobody uses on stderr: the signal for O_ASYNC. We count the writes in it, as a sequence lock
#: does: odd while one is under way. An odd one under the lock is that of a process that was killed
#: in the middle of a long line, which the next one would continue; one that does not change is that
#: of a holder who does not write.
_UNFINISHED = 1
_MARKS = 64  # as many as there are signals
_HAS_MARKS = hasattr(fcntl, "F_SETSIG")


def _mark(fd: int) -> int:
    try:
        return fcntl.fcntl(fd, fcntl.F_GETSIG) if _HAS_MARKS else 0
    except (OSError, ValueError):
        return 0


def _set_mark(fd: int, mark: int) -> None:
    if _HAS_MARKS:
        with contextlib.suppress(OSError, ValueError):
            fcntl.fcntl(fd, fcntl.F_SETSIG, mark)


def _next_mark(mark: int) -> int:
    return ((mark | _UNFINISHED) + 1) % _MARKS


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


def _milliseconds_until(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000


@contextlib.contextmanager
def _locked(fd: int, deadline: float | None) -> Generator[bool]:
    try:
        held = _lock(fd, deadline)
    except (OSError, ValueError):
        # Closed, or on a file system without locks: a torn line is better than none.
        yield True
        return
    try:
        yield held
    finally:
        # Closed while the write waited: the lock went with it.
        with contextlib.suppress(OSError):
            fcntl.lockf(fd, fcntl.LOCK_UN)


def _lock(fd: int, deadline: float | None) -> bool:
    """Take the lock, or see that its holder is silent; return False if the time was up before.

    Written without the lock a long line may be torn, which is better than a log that ends.
    """
    if _takes_lock(fd):
        return True
    pause, longest = _LOCK_RETRY_SECONDS
    silent_since, mark = time.monotonic(), _mark(fd)
    while (now := time.monotonic()) < (math.inf if deadline is None else deadline):
        last, mark = mark, _mark(fd)
        if mark != last or not _HAS_MARKS:
            silent_since = now
        elif not _has_room(fd, now):
            # The holder waits for the reader, as we would in its place.
            _has_room(fd, deadline)
            silent_since = time.monotonic()
        elif now - silent_since >= SILENT_HOLDER_SECONDS:
            return True
        time.sleep(pause)
        pause = min(2 * pause, longest)
        if _takes_lock(fd):
            return True
    return False


def _takes_lock(fd: int) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _has_room(fd: int, deadline: float | None) -> bool:
    """Wait until the descriptor takes data; return False if it does not until then."""
    poller = select.poll()
    poller.register(fd, select.POLLOUT)
    return bool(poller.poll(_milliseconds_until(deadline)))


class _Queue(Struct):
    """The lines that are not written yet, and the thread that writes them."""

    pieces: deque[tuple[int, bytes]] = field(default_factory=deque[tuple[int, bytes]])
    bytes: int = 0
    #: Reentrant: a signal handler, or a destructor, may print in the middle of a print.
    changed: threading.Condition = field(
        default_factory=lambda: threading.Condition(threading.RLock())
    )
    thread: threading.Thread | None = None


class LogWriter:
    """Write all lines of a process. Owns its thread from `start` to `stop`.

    Arguments:
        notice: makes the line about lost lines, given their number, as bytes with its end.
        fd: the descriptor for that line.
        capacity: most lines in the queue.
        capacity_bytes: most bytes in the queue; a single longer line is let through.
    """

    def __init__(
        self,
        notice: Callable[[int], bytes],
        fd: int,
        capacity: int = QUEUE_LINES,
        capacity_bytes: int = QUEUE_BYTES,
    ) -> None:
        self._notice = notice
        self._fd = fd
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._queue = _Queue()
        self._patience_seconds = PATIENCE_SECONDS
        #: Lines that were not written, because the reader did not read or is gone.
        self.dropped = 0
        self._reported = 0
        _writers.add(self)

    @property
    def queues(self) -> bool:
        """Return True if a thread writes the lines."""
        return self._queue.thread is not None

    def start(self) -> None:
        """Write in a thread from now on. Twice is fine."""
        if self._queue.thread is None:
            thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
            self._queue.thread = thread
            thread.start()

    def stop(self, timeout_seconds: float = FLUSH_SECONDS) -> None:
        """Write the queued lines, for so long at most; later ones are written at once.

        Twice is fine.
        """
        queue = self._queue
        with queue.changed:
            thread, queue.thread = queue.thread, None
            queue.changed.notify_all()
        if thread is not None:
            thread.join(timeout_seconds)

    def put(self, fd: int, data: bytes) -> None:
        """Have `data`, whole lines, written to `fd`; or count it as dropped."""
        queue = self._queue
        with queue.changed:
            if queue.thread is not None:
                self._enqueue(queue, fd, data)
                return
        if not write(fd, data, self._patience_seconds):
            self.dropped += 1
            self._patience_seconds = 0.0
        else:
            self._patience_seconds = PATIENCE_SECONDS

    def _enqueue(self, queue: _Queue, fd: int, data: bytes) -> None:
        full = queue.bytes + len(data) > self._capacity_bytes and queue.pieces
        if full or len(queue.pieces) >= self._capacity:
            self.dropped += 1
            return
        queue.pieces.append((fd, data))
        queue.bytes += len(data)
        queue.changed.notify()

    def _run(self) -> None:
        queue = self._queue
        while (batch := self._next(queue)) is not None:
            fd, lines = batch
            if not write(fd, b"".join(lines)):
                with queue.changed:
                    self.dropped += len(lines)
            elif self.dropped > self._reported:
                lost, self._reported = self.dropped - self._reported, self.dropped
                write(self._fd, self._notice(lost))

    def _next(self, queue: _Queue) -> tuple[int, list[bytes]] | None:
        """The oldest lines for one descriptor; None when all is written and no more will come."""
        with queue.changed:
            while not queue.pieces:
                if queue.thread is None:
                    return None
                queue.changed.wait()
            fd, first = queue.pieces.popleft()
            batch, size = [first], len(first)
            while queue.pieces and queue.pieces[0][0] == fd and size < BATCH_BYTES:
                batch.append(queue.pieces.popleft()[1])
                size += len(batch[-1])
            queue.bytes -= size
            return fd, batch

    def forked(self) -> None:
        """Start anew in a fork, which has no thread, and whose parent writes the queued lines."""
        self._queue = _Queue()


_writers: weakref.WeakSet[LogWriter] = weakref.WeakSet()


def _forked() -> None:
    for each in list(_writers):
        each.forked()


os.register_at_fork(after_in_child=_forked)


class LogWriterHandler(logging.Handler):
    """Pass each record as one line to a log writer.

    The caller of the logger formats it: the arguments may change after the call, and the line names
    the caller's task.

    Arguments:
        writer: writes the lines.
        fd: usually that of stderr.
    """

    def __init__(self, writer: LogWriter, fd: int) -> None:
        super().__init__()
        self._writer = writer
        self._fd = fd

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the line, or write it where there is no thread."""
        try:
            self._writer.put(self._fd, encoded(self.format(record)))
        except Exception:
            self.handleError(record)


def encoded(line: str) -> bytes:
    """Encode the line with its end; characters that UTF-8 does not have are escaped."""
    return (line + "\n").encode("utf-8", "backslashreplace")
