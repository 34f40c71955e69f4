"""Signals: received before anything slow is imported, queued, and read by the loop.

The handlers only note the signal and its time; `supervisor/pool/command_handler.py` has its
meaning. This module imports nothing slow itself, since it is imported first.
"""

import contextlib
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

#: The signals that the supervisor handles. Its workers and its nursery leave all of these to it.
#: USR2 means nothing, and is here because its default action would end the supervisor without a
#: drain.
HANDLED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCHLD,
)

#: Left alone where they are ignored at the start: by nohup, and by a shell that puts a program into
#: the background without job control, whose terminal is not the program's any more.
MAY_BE_IGNORED = (signal.SIGHUP, signal.SIGQUIT)

#: Two signals to stop within this time are one: a terminal sends INT to its whole group at Ctrl-C,
#: and a wrapper (npm, make, a shell script, a container's init) passes it on, as INT or as TERM.
SAME_SIGNAL_SECONDS = 1.0

#: How much each of these asks for. One is the echo of another that asked for as much or for more; a
#: second of the others is always one of its own, for a reload that failed may be asked for again.
URGENCY: dict[int, int] = {signal.SIGTERM: 1, signal.SIGINT: 1, signal.SIGQUIT: 2}


@dataclass(frozen=True, slots=True)
class ReceivedSignal:
    """One signal, at `at` seconds of the monotonic clock."""

    number: int
    at: float


class SignalQueue:
    """Note signals from the moment it is installed, and wake the loop that reads them later.

    Owns the process's handlers and its wakeup fd between `install` and `remove`.
    """

    def __init__(self) -> None:
        self._received: deque[ReceivedSignal] = deque()
        self._previous: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}
        self._wake_read, self._wake_write = os.pipe()
        self._previous_wakeup = -1
        for fd in (self._wake_read, self._wake_write):
            os.set_blocking(fd, False)

    def install(self) -> None:
        """Put the handlers in place. Twice is fine; only the main thread may."""
        if self._previous:
            return
        for number in HANDLED:
            previous = signal.getsignal(number)
            if number in MAY_BE_IGNORED and previous is signal.SIG_IGN:
                continue
            self._previous[number] = previous
            signal.signal(number, self._note)
        # The handler runs only when Python does: the C level writes here, so that a loop which
        # sleeps in select wakes up.
        self._previous_wakeup = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def remove(self) -> None:
        """Restore the previous handlers. Twice is fine."""
        if not self._previous:
            return
        signal.set_wakeup_fd(self._previous_wakeup)
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()

    def ignore_all(self) -> None:
        """Have these signals ignored for good: the process ends, and its exit code stands.

        Not `remove`: a second TERM in the last moments of a drain would kill a run that succeeded.
        The interpreter itself removes Python's handlers before it ends, but not this.
        """
        if self._previous:
            signal.set_wakeup_fd(-1)
        for number in self._previous:
            signal.signal(number, signal.SIG_IGN)

    def close(self) -> None:
        """Remove the handlers and close the pipe."""
        self.remove()
        for fd in (self._wake_read, self._wake_write):
            with contextlib.suppress(OSError):
                os.close(fd)

    def fileno(self) -> int:
        """Readable when signals may have come."""
        return self._wake_read

    def take(self) -> Iterator[ReceivedSignal]:
        """The signals noted since the last call, oldest first."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_read, 4096):
                pass
        while self._received:
            yield self._received.popleft()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._received.append(ReceivedSignal(number, time.monotonic()))


def in_main_thread() -> bool:
    """Return True if this thread may install handlers."""
    return threading.current_thread() is threading.main_thread()


class Debouncer:
    """Tell a signal to stop from its echo (pure: times are handed in)."""

    def __init__(self, same_signal_seconds: float = SAME_SIGNAL_SECONDS) -> None:
        self._same_signal_seconds = same_signal_seconds
        #: When the last signal of each urgency counted.
        self._last: dict[int, float] = {}

    def is_new(self, received: ReceivedSignal) -> bool:
        """Return True if it is a signal of its own; an echo does not prolong its own silence."""
        urgency = URGENCY.get(received.number)
        if urgency is None:
            return True
        if any(
            other >= urgency and received.at - at < self._same_signal_seconds
            for other, at in self._last.items()
        ):
            return False
        self._last[urgency] = received.at
        return True
