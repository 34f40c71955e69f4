"""The end of the pool: how far it has been escalated, and until when each step lasts (pure).

    finish ──second signal──► hand back ──third──► kill ──fourth──► abandon

Finish: no worker claims, what runs finishes until the deadline. Hand back: what still runs is
cancelled and put back; a process that ignores it is killed after a grace. Kill: now. In each case
what the killed were running is adopted before the supervisor ends, by a worker forked for it if
none is left; only a fourth signal abandons that to the redelivery of another pool.
"""

from dataclasses import dataclass
from enum import IntEnum

from supervisor.exit_codes import ExitCode

#: From the deadline to the kill: what a cancelled coroutine has for its cleanup.
HAND_BACK_GRACE_SECONDS = 5.0
#: What a process has to end after it said Drained: threads of tasks may hold it.
END_GRACE_SECONDS = 5.0
#: What adopting has once every worker is gone; beyond it the next pool's steward does it.
ADOPTION_GRACE_SECONDS = 10.0


class Step(IntEnum):
    """How hard the pool is being ended."""

    FINISH = 1
    HAND_BACK = 2
    KILL = 3
    ABANDON = 4


@dataclass(slots=True)
class DrainProgress:
    """A drain that has begun. Times are seconds of the monotonic clock.

    Arguments:
        code: how the program will end.
        reason: its last line, or None for a plain stop.
        deadline: when what still runs is handed back.
    """

    code: ExitCode
    reason: str | None
    deadline: float
    step: Step = Step.FINISH
    #: When the last worker was gone and only adoptions were left.
    emptied_at: float | None = None

    def escalate(self, now: float) -> Step:
        """One more signal."""
        self.step = Step(min(self.step + 1, Step.ABANDON))
        if self.step is not Step.FINISH:
            self.deadline = min(self.deadline, now)
        return self.step

    def put_off(self, seconds: float) -> None:
        """For so long nobody could do anything: this process did not run."""
        self.deadline += seconds
        if self.emptied_at is not None:
            self.emptied_at += seconds

    def seconds_left(self, now: float) -> float:
        """Until what still runs is handed back."""
        return max(0.0, self.deadline - now)

    def must_kill(self, now: float) -> bool:
        """Whether whoever is left is to be killed."""
        return self.step >= Step.KILL or now >= self.deadline + HAND_BACK_GRACE_SECONDS

    def gives_up_adopting(self, now: float) -> bool:
        """Whether the adoptions still held are left to another pool."""
        if self.step is Step.ABANDON:
            return True
        return self.emptied_at is not None and now >= self.emptied_at + ADOPTION_GRACE_SECONDS
