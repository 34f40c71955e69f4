"""The size of a pool that follows its work (pure).

    a ready task waits, workers full ──► more: in proportion, at most double, every few seconds
    workers to spare for a while     ──► one fewer, each time after a while of its own
    anything between, or held        ──► the same size

Two things keep a constant load from moving the size to and fro. A pool shrinks only if its work
leaves room in the smaller one, and grows only once that is full. And a size that proved too small
is not tried again as soon: the idle time that it takes doubles, up to 32 times.
"""

import math
from enum import StrEnum

from msgspec import Struct

from supervisor.process_range import ProcessRange
from supervisor.text import durations

#: The pause between two steps up: time for the new workers to take what waits.
GROW_SECONDS = 3.0
#: A pool is full while this part of it is busy: between two runs a place is free.
FULL_PART = 0.9
#: It has workers to spare while one fewer would be busy to this part.
SPARE_PART = 0.7
#: After a longer time without a look (a suspended machine) the idle time starts anew.
LOOK_GAP_SECONDS = 5.0
#: In so many readings in a row a task has to wait where the workers do not seem full.
CONFIRMED_READINGS = 2
#: A step down is taken back if one up follows within so many times its idle time.
REGRET_FACTOR = 4.0
#: The idle time doubles at most so often.
MOST_DOUBLINGS = 5


class Direction(StrEnum):
    """The fixed set of values of the label `direction` of docket_supervisor_scalings_total."""

    UP = "up"
    DOWN = "down"


class Load(Struct, frozen=True):
    """The size and the work of a pool at one moment.

    Arguments:
        processes: its size.
        serving: workers that can claim tasks.
        busy: the sum of their busy parts, each from 0 to 1.
        wait_seconds: the age of the oldest task that is ready and not claimed; 0: there is none.
        wait_read_at: when the server was asked for that; seconds of the monotonic clock.
        held_because: the reason for which the size stays as it is, if there is one.
    """

    processes: int
    serving: int
    busy: float
    wait_seconds: float
    wait_read_at: float
    held_because: str | None = None

    @property
    def is_full(self) -> bool:
        """Return True if the workers have no place free, or their loops no time."""
        return self.busy >= FULL_PART * self.serving

    @property
    def is_to_spare(self) -> bool:
        """Return True if what the workers do leaves room in one worker fewer."""
        return self.busy <= SPARE_PART * self.serving * (self.processes - 1) / self.processes


class SizeChange(Struct, frozen=True):
    """A new size, at `at`, with its reason."""

    before: int
    processes: int
    reason: str
    at: float

    @property
    def direction(self) -> Direction:
        """Up or down."""
        return Direction.UP if self.processes > self.before else Direction.DOWN


class ScalingPolicy:
    """Decide the size of one pool, look by look; times are seconds of the monotonic clock.

    Arguments:
        bounds: the fewest and the most processes.
        up_wait_seconds: a ready task that waits longer is a reason for more.
        down_idle_seconds: workers to spare for so long are a reason for one fewer.
    """

    def __init__(
        self, bounds: ProcessRange, up_wait_seconds: float, down_idle_seconds: float
    ) -> None:
        self.bounds = bounds
        #: The reason for which the size stays as it is, as of the last look.
        self.held_because: str | None = None
        #: The last size that was decided on.
        self.last_change: SizeChange | None = None
        self._up_wait_seconds = up_wait_seconds
        self._down_idle_seconds = down_idle_seconds
        #: The size that the last step down which was taken back led to, and how often it did.
        self._too_small = 0
        self._regrets = 0
        self._looked_at: float | None = None
        self._idle_since: float | None = None
        #: The most that was busy since then.
        self._busiest = 0.0
        #: Readings of the server in a row by which a task waited, and when the last one was.
        self._readings = 0
        self._read_at = -math.inf

    def decide(self, load: Load, now: float) -> SizeChange | None:
        """Look at the load at `now` (never earlier than before); the new size, if it is another."""
        self.held_because = load.held_because
        self._note_wait(load)
        self._note_idleness(load, now)
        if load.held_because is not None:
            return None
        change = self._growth(load, now) or self._shrinkage(load, now)
        if change is not None:
            self._note_regret(change)
            self.last_change, self._idle_since, self._readings = change, None, 0
        return change

    def _note_wait(self, load: Load) -> None:
        if load.held_because is not None or load.wait_seconds <= self._up_wait_seconds:
            self._readings = 0
        elif load.wait_read_at > self._read_at:
            self._readings += 1
        self._read_at = load.wait_read_at

    def _note_idleness(self, load: Load, now: float) -> None:
        """Note since when there have been workers to spare, at every look without a gap."""
        paused = self._looked_at is not None and now - self._looked_at > LOOK_GAP_SECONDS
        self._looked_at = now
        waits = load.wait_seconds > self._up_wait_seconds
        if paused or waits or load.held_because is not None or not load.is_to_spare:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since, self._busiest = now, load.busy
        else:
            self._busiest = max(self._busiest, load.busy)

    def _note_regret(self, change: SizeChange) -> None:
        """Note a size that was too small, or forget one that was not."""
        last = self.last_change
        if change.direction is Direction.DOWN:
            if change.before <= self._too_small:
                self._too_small = self._regrets = 0
            return
        if last is None or last.direction is Direction.UP:
            return
        if change.at - last.at < REGRET_FACTOR * self._idle_seconds_for(last.processes):
            self._regrets = min(MOST_DOUBLINGS, self._regrets + 1)
            self._too_small = change.before

    def _idle_seconds_for(self, processes: int) -> float:
        """The time with workers to spare after which there are only so many."""
        again = processes <= self._too_small
        return self._down_idle_seconds * (2**self._regrets if again else 1)

    def _growth(self, load: Load, now: float) -> SizeChange | None:
        # Workers take what is ready as soon as they can. Where they do not seem to be full, it may
        # have been a moment that is over; or their loops are blocked, and seem to be idle.
        needed = 1 if load.is_full else CONFIRMED_READINGS
        if self._readings < needed or load.serving == 0 or not self._may_grow(load, now):
            return None
        factor = min(2.0, load.wait_seconds / self._up_wait_seconds)
        processes = self.bounds.clamp(math.ceil(load.processes * factor))
        if processes <= load.processes:
            return None
        waited = durations.brief(load.wait_seconds)
        part = load.busy / load.serving
        reason = f"the oldest ready task has waited {waited}, the workers are {part:.0%} busy"
        return SizeChange(load.processes, processes, reason, now)

    def _may_grow(self, load: Load, now: float) -> bool:
        """Return True unless the last step is too close, or what waits was read before it."""
        last = self.last_change
        if last is None:
            return True
        if last.direction is Direction.UP and now - last.at < GROW_SECONDS:
            return False
        return load.wait_read_at > last.at

    def _shrinkage(self, load: Load, now: float) -> SizeChange | None:
        since = self._idle_since
        if since is None or now - since < self._idle_seconds_for(load.processes - 1):
            return None
        if load.processes <= self.bounds.least:
            return None
        part, lasted = self._busiest / load.serving, durations.brief(now - since)
        reason = f"the workers were at most {part:.0%} busy for {lasted}"
        return SizeChange(load.processes, load.processes - 1, reason, now)
