"""What user code prints by itself: sys.stdout and sys.stderr of a process that runs it.

A print goes where it went before. But its lines take the way of the log lines, whole and behind the
same queue, so that a task that prints to a pipe nobody reads loses lines, and does not block the
event loop of its worker. What C code writes to the descriptors takes no way of ours.
"""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Mapping

from typing_extensions import Buffer

from supervisor.logs.writer import LogWriter

#: Of a line that does not end (a progress bar), what is kept at most until it does.
MOST_UNENDED = 64 * 1024

#: By descriptor, the name of its stream in sys.
_STREAMS = {1: "stdout", 2: "stderr"}

#: What becomes of a line, without its end, before it is written.
Change = Callable[[bytes], bytes]


class LineStream(io.RawIOBase):
    """The descriptor's end of a text stream: cuts what is printed into lines.

    Arguments:
        fd: 1 or 2; not closed.
    """

    def __init__(self, fd: int) -> None:
        self._fd = self._into = fd
        self._unended = b""
        self._writer: LogWriter | None = None
        self._change = _as_it_is
        self.name = f"<{_STREAMS[fd]}>"
        self.mode = "wb"

    def lead(self, writer: LogWriter, into: int, change: Change) -> None:
        """Have lines go through `writer` to the descriptor `into`, each as `change` makes it."""
        self._writer, self._into, self._change = writer, into, change

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The real one, for subprocesses and faulthandler."""
        return self._fd

    def isatty(self) -> bool:
        """As before: colours stay where they were."""
        return os.isatty(self._fd)

    def write(self, data: Buffer, /) -> int:
        """Take all of it: never short, never waiting for a reader where a thread writes."""
        piece = bytes(data)
        whole, ended, self._unended = (self._unended + piece).rpartition(b"\n")
        for line in whole.split(b"\n") if ended else ():
            self._put(self._change(line) + b"\n")
        held = self._writer is not None and self._writer.queues
        if len(self._unended) > MOST_UNENDED or not held:
            # Without a thread the process is alone, or about to end: nothing is held back.
            self.end_line()
        return len(piece)

    def end_line(self) -> None:
        """Write what has no end yet."""
        unended, self._unended = self._unended, b""
        if unended:
            self._put(unended)

    def _put(self, data: bytes) -> None:
        if self._writer is not None:
            self._writer.put(self._into, data)


#: Of this process, by descriptor. Module-level as sys.stdout is: a fork inherits both.
_taken: dict[int, LineStream] = {}


class StdioCapture:
    """Takes what is printed in this process, from `start` to `stop`.

    Arguments:
        outlet: takes the lines.
        into: by descriptor of a stream, the one that its lines are written to.
        changes: by descriptor, what becomes of a line; without one it stays as it is.
    """

    def __init__(
        self, writer: LogWriter, into: Mapping[int, int], changes: Mapping[int, Change]
    ) -> None:
        self._writer = writer
        self._into = into
        self._changes = changes
        self._before: dict[int, object] = {}

    def start(self) -> None:
        """Put ours in the place of sys.stdout and sys.stderr.

        A fork of a process that has done so keeps the streams, which handlers and consoles made at
        import may hold, and only leads them to its own outlet.
        """
        for fd, name in _STREAMS.items():
            change = self._changes.get(fd, _as_it_is)
            inherited = _taken.get(fd)
            if inherited is not None:
                inherited.lead(self._writer, self._into[fd], change)
                continue
            _taken[fd] = lines = LineStream(fd)
            lines.lead(self._writer, self._into[fd], change)
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
        """Write what is printed and not ended, and give back what `start` took. Twice is fine."""
        for name in _STREAMS.values():
            # User code may have closed it, or put something else in its place.
            with contextlib.suppress(AttributeError, OSError, ValueError):
                getattr(sys, name).flush()
        for lines in _taken.values():
            lines.end_line()
        for fd, before in self._before.items():
            setattr(sys, _STREAMS[fd], before)
            del _taken[fd]
        self._before.clear()


def _as_it_is(line: bytes) -> bytes:
    return line
