"""Capture of sys.stdout and sys.stderr in a process that runs user code.

A print ends up where it did before, but its lines go through the log writer, whole and in the same
queue: a task that prints to a pipe that is not read loses lines, and does not block the event loop
of its worker. Writes of C code to the descriptors are not captured here: in a stream of JSON the
supervisor reads them from a pipe, elsewhere they pass by.
"""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Mapping

from typing_extensions import Buffer

from supervisor.logs.writer import LogWriter

#: Most bytes that are kept of a line that has not ended (of a progress bar).
MOST_UNENDED = 64 * 1024

#: By descriptor, the name of its stream in sys.
_STREAMS = {1: "stdout", 2: "stderr"}

#: Changes a line, without its end, before it is written.
Change = Callable[[bytes], bytes]


class LineStream(io.RawIOBase):
    """The raw stream below a text stream: cuts prints into lines.

    Arguments:
        fd: 1 or 2; not closed.
    """

    def __init__(self, fd: int) -> None:
        self._fd = self._into = fd
        self._unended = b""
        self._writer: LogWriter | None = None
        self._change = _unchanged
        self.name = f"<{_STREAMS[fd]}>"
        self.mode = "wb"

    def redirect(self, writer: LogWriter, into: int, change: Change) -> None:
        """Write lines with `writer` to the descriptor `into`, each as `change` returns it."""
        self._writer, self._into, self._change = writer, into, change

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the real descriptor, for subprocesses and faulthandler."""
        return self._fd

    def isatty(self) -> bool:
        """Tell whether the descriptor is a terminal, so that colours stay as they were."""
        return os.isatty(self._fd)

    def write(self, data: Buffer, /) -> int:
        """Take all of the data, without waiting for a reader if a thread writes."""
        piece = bytes(data)
        whole, ended, self._unended = (self._unended + piece).rpartition(b"\n")
        for line in whole.split(b"\n") if ended else ():
            self._put(self._change(line) + b"\n")
        queued = self._writer is not None and self._writer.queues
        if len(self._unended) > MOST_UNENDED or not queued:
            # Without a writing thread the process may end at once: nothing is held back.
            self.end_line()
        return len(piece)

    def end_line(self) -> None:
        """Write the line that has not ended yet; as a record it has an end."""
        unended, self._unended = self._unended, b""
        if unended:
            changed = self._change(unended)
            self._put(unended if changed is unended else changed + b"\n")

    def _put(self, data: bytes) -> None:
        if self._writer is not None:
            self._writer.put(self._into, data)


#: The streams of this process, by descriptor. Module-level as sys.stdout is: a fork inherits both.
_captured: dict[int, LineStream] = {}


class StdioCapture:
    """Capture the prints of this process, from `start` to `stop`.

    Arguments:
        writer: writes the lines.
        into: the descriptors that lines are written to, by that of their stream.
        changes: the changes to lines, by descriptor; without one a line stays unchanged.
    """

    def __init__(
        self, writer: LogWriter, into: Mapping[int, int], changes: Mapping[int, Change]
    ) -> None:
        self._writer = writer
        self._into = into
        self._changes = changes
        self._before: dict[int, object] = {}

    def start(self) -> None:
        """Replace sys.stdout and sys.stderr.

        A fork of a process that has done so keeps the streams, which handlers and consoles made at
        import may hold, and only redirects them to its own writer.
        """
        for fd, name in _STREAMS.items():
            change = self._changes.get(fd, _unchanged)
            inherited = _captured.get(fd)
            if inherited is not None:
                inherited.redirect(self._writer, self._into[fd], change)
                continue
            _captured[fd] = lines = LineStream(fd)
            lines.redirect(self._writer, self._into[fd], change)
            before = getattr(sys, name)
            self._before[fd] = before
            stream = io.TextIOWrapper(
                io.BufferedWriter(lines),
                encoding=getattr(before, "encoding", None) or "utf-8",
                errors="backslashreplace",
                line_buffering=True,
            )
            setattr(sys, name, stream)

    def stop(self) -> None:
        """Write the lines that have not ended, and restore the streams. Twice is fine."""
        for name in _STREAMS.values():
            # User code may have closed it, or put something else in its place.
            with contextlib.suppress(AttributeError, OSError, ValueError):
                getattr(sys, name).flush()
        for lines in _captured.values():
            lines.end_line()
        for fd, before in self._before.items():
            setattr(sys, _STREAMS[fd], before)
            del _captured[fd]
        self._before.clear()


def _unchanged(line: bytes) -> bytes:
    return line
