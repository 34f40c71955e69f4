"""A worker that is to be replaced although it lives: why, how often it was tried, who waits (pure).

The successor is forked beside it and gets ready first; only then is the old one told to drain. So
a replacement that fails costs nothing but the try.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from supervisor.pool.state.pool_commands import Outcome, nobody
from supervisor.pool.state.restart_window import Backoff

#: Successors that may fail to get ready before the replacement is given up.
TRIES = 3


class Reason(StrEnum):
    """The bounded set of words for replacements that nobody died for, in logs and metrics."""

    RELOAD = "reload"
    RECYCLE = "recycle"
    REQUESTED = "requested"


@dataclass(slots=True, eq=False)
class Replacement:
    """What a slot is to go through.

    Arguments:
        why: in one word.
        backoff: the pauses between failed successors.
        generation: whose nursery forks the successor; None: the current one's.
        answer: told once how it ended.
    """

    why: Reason
    backoff: Backoff
    generation: int | None = None
    answer: Callable[[Outcome], None] = nobody
    failures: int = 0
    #: When the next successor may be asked for, in seconds of the monotonic clock.
    due_at: float = 0.0

    def failed(self, now: float) -> bool:
        """Note that a successor did not get ready; whether another one is to be tried.

        A recycled worker still serves, and its successor may fail for want of memory: that is
        tried until it works. Who asked for a reload or a restart is waiting for an answer.
        """
        self.failures += 1
        self.due_at = now + self.backoff.pause_after(0.0)
        return self.why is Reason.RECYCLE or self.failures < TRIES
