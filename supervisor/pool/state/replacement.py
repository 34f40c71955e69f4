"""The replacement of a worker that still lives: its reason, its tries, and its answer (pure).

The successor is forked beside it and gets ready first; only then is the old one told to drain. So
a replacement that fails costs nothing but the try.
"""

from collections.abc import Callable
from enum import StrEnum

from msgspec import Struct

from supervisor.backoff import Backoff
from supervisor.pool.state.pool_commands import Outcome, discard

#: Successors that may fail to get ready before the replacement is given up.
TRIES = 3


class Reason(StrEnum):
    """The fixed set of reasons to replace a living worker, in logs and metrics."""

    RELOAD = "reload"
    RECYCLE = "recycle"
    REQUESTED = "requested"


class Replacement(Struct, eq=False):
    """The pending replacement of the worker of one slot.

    Arguments:
        reason: in one word.
        backoff: the pauses between failed successors.
        generation: whose nursery forks the successor; None: the current one's.
        answer: called once with its outcome.
    """

    reason: Reason
    backoff: Backoff
    generation: int | None = None
    answer: Callable[[Outcome], None] = discard
    failures: int = 0
    #: When the next successor may be asked for, in seconds of the monotonic clock.
    due_at: float = 0.0

    def failed(self, now: float) -> bool:
        """Note that a successor did not get ready; whether another one is to be tried.

        A recycled worker still serves, and its successor may fail for want of memory: that is
        tried until it works. Whoever asked for a reload or a restart is waiting for an answer.
        """
        self.failures += 1
        self.due_at = now + self.backoff.pause_after(0.0)
        return self.reason is Reason.RECYCLE or self.failures < TRIES
