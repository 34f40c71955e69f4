"""The end of a process whose supervisor is gone and which is not able to see that.

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
import time
from collections.abc import Callable
from typing import Final

from supervisor.system.prctl import PR_SET_PDEATHSIG, prctl

#: The exit status of a worker that was ended here.
ORPHAN_STATUS: Final = 1


def end_with_supervisor(channel: int) -> bool:
    """Have the kernel kill this process with its parent; False if that is gone already.

    Only on Linux; elsewhere it ends when it looks at its channel again.

    channel: the descriptor of the socket whose other end is the supervisor's alone.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    poller = select.poll()
    poller.register(channel, 0)  # the end of the other side is always reported
    return not poller.poll(0)


def outlive_supervisor() -> None:
    """Let this process see the end of its supervisor from now on, for it has work after that.

    If it was stopped it would see nothing, for ever: it is woken by that end.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGCONT)


def end_after_supervisor(
    pipe: int, allowed_seconds: float, end: Callable[[int], object] = os._exit
) -> None:
    """Start the thread that ends this process some time after its supervisor.

    pipe: the write end whose reader is the supervisor; not owned.
    allowed_seconds: how long the process may go on without one.
    end: ends the process at once, without waiting for its loop or its threads.
    """
    # A daemon: it must still watch while the interpreter waits for the threads of tasks.
    threading.Thread(
        target=_watch, args=(pipe, allowed_seconds, end), name="parent-watch", daemon=True
    ).start()


def _watch(pipe: int, allowed_seconds: float, end: Callable[[int], object]) -> None:
    poller = select.poll()
    poller.register(pipe, 0)  # errors are always reported: here, that the reader is gone
    poller.poll()
    time.sleep(allowed_seconds)
    end(ORPHAN_STATUS)
