"""How long a worker's loop has been silent, and what kind of silence it is (pure).

Silence is summed over ticks of the supervisor that were themselves on time, each after every
readable channel was read: a machine that was suspended, or a supervisor that was starved, has not
listened, and kills nobody for what it did not hear.
"""

from dataclasses import dataclass
from enum import StrEnum

#: A tick that comes later than this many intervals after the last was not on time.
LATE_TICK_INTERVALS = 3.0
#: A worker that waited for a CPU for more than this part of its silence was starved, not stuck.
STARVED_PART = 0.5


class Kind(StrEnum):
    """Why a loop is silent, as far as the keeper's beats tell."""

    #: The keeper beats: a task blocks the loop.
    BLOCKED = "the event loop is blocked"
    #: It does not: C code holds the GIL, or the process is stopped.
    FROZEN = "the whole process is silent: C code holds the GIL, or it is stopped"


class TickClock:
    """Turns ticks into the seconds that may be counted as listened to."""

    def __init__(self, interval_seconds: float) -> None:
        self._interval_seconds = interval_seconds
        self._last: float | None = None

    def listened_seconds(self, now: float) -> float:
        """Since the last tick, or 0 if this one is too late to say."""
        last, self._last = self._last, now
        if last is None or now - last > LATE_TICK_INTERVALS * self._interval_seconds:
            return 0.0
        return now - last


@dataclass(slots=True)
class Silence:
    """What one worker has not said. Seconds are those listened to, not those that passed."""

    loop_seconds: float = 0.0
    keeper_seconds: float = 0.0
    #: The key of the task that the loop is in, by the keeper's last beat within this silence.
    culprit: str | None = None
    #: Said once a silence.
    warned: bool = False
    #: Seconds of waiting for a CPU when the silence began, as the kernel counts them.
    waited_before: float | None = None

    def loop_spoke(self) -> None:
        """A heartbeat: the silence is over."""
        self.loop_seconds = self.keeper_seconds = 0.0
        self.culprit = self.waited_before = None
        self.warned = False

    def keeper_spoke(self, culprit: str | None) -> None:
        """A keeper's beat: the process runs Python, whatever its loop does."""
        self.keeper_seconds = 0.0
        self.culprit = culprit

    def listened(self, seconds: float) -> None:
        """So much more listening, in which nothing was said."""
        self.loop_seconds += seconds
        self.keeper_seconds += seconds

    def kind(self, beat_seconds: float) -> Kind:
        """What kind of silence it is, given how often the keeper should beat."""
        return Kind.BLOCKED if self.keeper_seconds < 4 * beat_seconds else Kind.FROZEN

    def was_starved(self, waited_now: float | None) -> bool:
        """Whether more than half of the silence was waiting for a CPU."""
        if waited_now is None or self.waited_before is None or self.loop_seconds <= 0:
            return False
        return waited_now - self.waited_before > STARVED_PART * self.loop_seconds
