"""Ends a process whose supervisor is gone and which is not able to see that.

A nursery that imports does not look at its channel, and an import may hang: until the code is
loaded the kernel ends it with its supervisor. A worker drains when its channel ends, but it takes a
loop that turns to see that. So a thread waits for the other end of the keeper pipe to be closed,
which happens when the supervisor dies, however it dies, and gives the process as long as a drain
may take.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from typing import Final

from supervisor.pool.state.drain import END_GRACE_SECONDS, HAND_BACK_GRACE_SECONDS
from supervisor.system.prctl import PR_SET_PDEATHSIG, prctl

#: Seconds that a process may take to end once its drain is over: those that a supervisor would
#: give it for the cleanup of what was cancelled, and for its end (threads of tasks, atexit).
END_SECONDS: Final = HAND_BACK_GRACE_SECONDS + END_GRACE_SECONDS

#: The exit status of a worker that was ended here.
ORPHAN_STATUS: Final = 1


def end_with_supervisor(channel: int) -> bool:
    """Have the kernel kill this process with its parent; False if that is gone already.

    Only on Linux; elsewhere it ends when it looks at its channel again.

    channel: the descriptor of the socket whose other end is the supervisor's alone.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    poller = select.poll()
    poller.register(channel, 0)  # that nobody is there any more is always reported
    return not poller.poll(0)


def outlive_supervisor() -> None:
    """From now on this process sees the end of its supervisor, and has something to do after it.

    If it was stopped it would see nothing, for ever: it is woken by that end.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGCONT)


class ParentWatch:
    """Watches one pipe.

    pipe: the write end whose reader is the supervisor; not owned.
    allowed_seconds: how long the process may go on without one.
    end: ends the process at once, without waiting for its loop or its threads.
    """

    def __init__(
        self,
        pipe: int,
        allowed_seconds: float,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._pipe = pipe
        self._allowed_seconds = allowed_seconds
        self._end = end
        self._stopped = threading.Event()
        # A daemon: it must still watch while the interpreter waits for the threads of tasks.
        self._thread = threading.Thread(target=self._run, name="orphan-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Do not end the process any more, if the supervisor is gone already. Idempotent."""
        self._stopped.set()

    def join(self) -> None:
        """Wait until the thread has ended: the supervisor is gone, and the watch was stopped."""
        self._thread.join()

    def _run(self) -> None:
        poller = select.poll()
        poller.register(self._pipe, 0)  # errors are always reported: here, that nobody reads
        poller.poll()
        if not self._stopped.wait(self._allowed_seconds):
            self._end(ORPHAN_STATUS)
