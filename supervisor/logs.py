"""Log lines of all processes on one stderr: whole, in order, and never in anyone's way.

A write of more than PIPE_BUF bytes to a pipe may be torn by another process's, so each line is
written under an fcntl lock on stderr itself. (flock would not do: it belongs to the open file,
which all our processes share; an fcntl lock belongs to a process.) Writing happens in a thread
behind a bounded queue: a reader that stopped reading costs lines, which are counted and told of
when it goes on, and stalls no loop. The nursery, which may have no threads, writes by itself.
"""

import contextlib
import fcntl
import json
import logging
import os
import queue
import threading
import time
import traceback
from collections.abc import Generator
from datetime import UTC, datetime

#: Lines that may wait for a slow reader.
QUEUE_LINES = 10_000
#: How long the end of a process waits for its last lines to be read.
FLUSH_SECONDS = 2.0

STDERR = 2

_COLORS = {"DEBUG": "2", "INFO": "34", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


class PlainFormatter(logging.Formatter):
    """`2026-01-02 03:04:05.678 INFO docket.worker: message`, local time."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s")
        self.datefmt = "%Y-%m-%d %H:%M:%S"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, pid, message, and exception if any."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = "".join(traceback.format_exception(*record.exc_info)).rstrip()
        return json.dumps(line, ensure_ascii=False, default=str)


class RichFormatter(logging.Formatter):
    """Colours for a terminal, by hand: the library of this name costs every worker 10 MB."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        color = _COLORS.get(record.levelname, "0")
        head = f"\x1b[2m{at}\x1b[0m \x1b[{color}m{record.levelname:<8}\x1b[0m"
        line = f"{head} {record.getMessage()} \x1b[2m{record.name}\x1b[0m"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def formatter(logging_format: str) -> logging.Formatter:
    """The formatter of this name: rich, plain or json."""
    return {"rich": RichFormatter, "json": JsonFormatter}.get(logging_format, PlainFormatter)()


def chosen_format(asked: str | None) -> str:
    """`asked`, or else rich on a terminal and plain elsewhere."""
    return asked or ("rich" if os.isatty(STDERR) else "plain")


class LineWriter(logging.Handler):
    """Writes each record as one whole piece to a file descriptor that processes share.

    Arguments:
        fd: usually that of stderr; not closed.
    """

    def __init__(self, fd: int = STDERR) -> None:
        super().__init__()
        self._fd = fd

    def emit(self, record: logging.LogRecord) -> None:
        """Write now, in this thread."""
        try:
            self.write(self.format(record))
        except Exception:
            self.handleError(record)

    def write(self, text: str) -> None:
        """One line (with its traceback, if any), whole."""
        data = memoryview((text + "\n").encode("utf-8", "backslashreplace"))
        with _locked(self._fd):
            while data:
                data = data[self._write_some(data) :]

    def _write_some(self, data: memoryview) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            # Whoever made stderr non-blocking (a shell, a parent with a loop) gave it to us so.
            os.set_blocking(self._fd, True)
            return 0
        except OSError:
            return len(data)  # the reader is gone; there is nobody left to tell


@contextlib.contextmanager
def _locked(fd: int) -> Generator[None]:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX)
    except OSError:
        # stderr is closed, or on a file system without locks: a torn line is better than none.
        yield
        return
    try:
        yield
    finally:
        # Closed while the write waited: the lock went with it.
        with contextlib.suppress(OSError):
            fcntl.lockf(fd, fcntl.LOCK_UN)


class QueuedWriter(logging.Handler):
    """Hands records to a thread that writes them; when too many wait, drops and counts them.

    Owns its thread from `start` to `stop`. Formatting is done by the caller: a record's arguments
    may change after the call.
    """

    def __init__(self, writer: LineWriter, capacity: int = QUEUE_LINES) -> None:
        super().__init__()
        self._writer = writer
        self._lines: queue.Queue[str | None] = queue.Queue(capacity)
        self._thread: threading.Thread | None = None
        self.dropped = 0
        self._told = 0

    def start(self) -> None:
        """Begin to write. Twice is fine."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
            self._thread.start()

    def stop(self, timeout_seconds: float = FLUSH_SECONDS) -> None:
        """Write what waits, for so long at most. Twice is fine."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=timeout_seconds)
            thread.join(timeout_seconds)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the line, or count it as dropped."""
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self.dropped += 1
        except Exception:
            self.handleError(record)

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            self._writer.write(line)
            if self.dropped > self._told:
                lost, self._told = self.dropped - self._told, self.dropped
                self._writer.write(f"({lost} log lines were dropped: stderr was not read)")


class Logs:
    """The logging of one process: installed on the root logger, in place of what was there."""

    def __init__(self, level: str, logging_format: str, *, threaded: bool, fd: int = STDERR):
        self._writer = LineWriter(fd)
        self._queued = QueuedWriter(self._writer) if threaded else None
        self._handler: logging.Handler = self._queued or self._writer
        self._handler.setFormatter(formatter(logging_format))
        self._level = level
        self._before: tuple[list[logging.Handler], int] | None = None

    @property
    def dropped(self) -> int:
        """Lines that were not written because nobody read the earlier ones."""
        return self._queued.dropped if self._queued else 0

    def start(self) -> None:
        """Take over the root logger."""
        root = logging.getLogger()
        self._before = (root.handlers[:], root.level)
        root.handlers[:] = [self._handler]
        root.setLevel(self._level)
        if self._queued:
            self._queued.start()

    def stop(self) -> None:
        """Write what waits, and give the root logger back. Twice is fine."""
        if self._queued:
            self._queued.stop()
        if self._before is not None:
            root = logging.getLogger()
            root.handlers[:], level = self._before
            root.setLevel(level)
            self._before = None


def configure(level: str, logging_format: str | None, *, threaded: bool) -> Logs:
    """Set up and start the logging of this process.

    Arguments:
        level: least level that is logged.
        logging_format: rich, plain, json, or None for what suits stderr.
        threaded: write from a thread (supervisor, workers) or at once (the nursery, which forks).
    """
    logs = Logs(level, chosen_format(logging_format), threaded=threaded)
    logs.start()
    return logs


def last_line(text: str, fd: int = STDERR) -> None:
    """Write the reason of an end, after everything else and past any queue."""
    LineWriter(fd).write(text)
