"""The writer of a process's log lines: whole, in order, and without blocking its loop.

A thread writes, behind a bounded queue: a reader that stopped reading costs lines, which are
counted and reported once it goes on, and stalls no loop. A process that may have no threads (the
nursery, a fork that a task made) writes by itself and waits a moment at most.
"""

import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable

from msgspec import Struct, field

from supervisor.logs.shared_descriptor import write

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
