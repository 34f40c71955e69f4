"""The end of the pool: its steps, and the time that each of them has (pure).

    finish ──second signal──► requeue ──third──► kill ──fourth──► abandon

Finish: no worker claims, what runs finishes until the deadline. Requeue: what still runs is
cancelled and requeued; a process that ignores it is killed after a grace. Kill: now. In each case
what the killed were running is adopted before the supervisor ends, by a worker forked for it if
none is left; only a fourth signal abandons that to the redelivery of another pool.
"""

from enum import IntEnum

from msgspec import Struct

from supervisor.exit_codes import ExitCode
from supervisor.grace_periods import ADOPTION_SECONDS, CLEANUP_SECONDS
from supervisor.pool.state.exits import Error


class Step(IntEnum):
    """The steps of a drain, each harder than the one before."""

    FINISH = 1
    REQUEUE = 2
    KILL = 3
    ABANDON = 4


class DrainProgress(Struct):
    """A drain that has begun. Times are seconds of the monotonic clock.

    Arguments:
        code: the exit code of the program.
        cause: the program's last line, or None for a plain stop.
        deadline: when what still runs is requeued.
        last_error: ends the last line.
    """

    code: ExitCode
    cause: str | None
    deadline: float
    step: Step = Step.FINISH
    last_error: Error = ""
    #: When the last worker was gone and only adoptions were left.
    emptied_at: float | None = None

    @property
    def reason(self) -> str | None:
        """The last line, as complete as it can be: an exit status may have come meanwhile."""
        return None if self.cause is None else f"{self.cause}{self.last_error}"

    def escalate(self, now: float) -> Step:
        """Go one step further, as after one more signal."""
        self.step = Step(min(self.step + 1, Step.ABANDON))
        if self.step is not Step.FINISH:
            self.deadline = min(self.deadline, now)
        return self.step

    def postpone(self, seconds: float) -> None:
        """Move the deadlines by a time in which this process did not run."""
        self.deadline += seconds
        if self.emptied_at is not None:
            self.emptied_at += seconds

    def seconds_left(self, now: float) -> float:
        """The time until what still runs is requeued."""
        return max(0.0, self.deadline - now)

    def must_kill(self, now: float) -> bool:
        """Return True if the workers that are left are to be killed."""
        return self.step >= Step.KILL or now >= self.deadline + CLEANUP_SECONDS

    def gives_up_adopting(self, now: float) -> bool:
        """Return True if the adoptions still held are left to another pool."""
        if self.step is Step.ABANDON:
            return True
        return self.emptied_at is not None and now >= self.emptied_at + ADOPTION_SECONDS
