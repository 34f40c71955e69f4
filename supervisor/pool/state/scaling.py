"""The size of a pool that follows its work (pure).

    a ready task waits, places full ──► more: in proportion, at most double, every few seconds
    places to spare for a while     ──► one fewer, each time after a while of its own
    anything between, or held       ──► the same size

The gap between the two conditions keeps a constant load from moving the size to and fro: a pool
shrinks only if what runs leaves room in the smaller one, and grows only once that is full.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from supervisor.process_range import ProcessRange
from supervisor.text import durations

#: The pause between two steps up: time for the new workers to take what waits.
GROW_SECONDS = 3.0
#: A pool is full while this part of its places is taken: between two runs a place is free.
FULL_PART = 0.9
#: It has places to spare while one process fewer would be taken to this part.
SPARE_PART = 0.7
#: After a longer time without a look (a suspended machine) the idle time starts anew.
LOOK_GAP_SECONDS = 5.0


class Direction(StrEnum):
    """The fixed set of values of the label `direction` of docket_supervisor_scalings_total."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Load:
    """The size and the work of a pool at one moment.

    Arguments:
        processes: its size.
        places: tasks that its ready workers can run at once.
        places_used: those that they run.
        wait_seconds: the age of the oldest task that is ready and not claimed; 0: there is none.
        wait_read_at: when the server was asked for that; seconds of the monotonic clock.
        held_because: the reason for which the size stays as it is, if there is one.
    """

    processes: int
    places: int
    places_used: int
    wait_seconds: float
    wait_read_at: float
    held_because: str | None = None


@dataclass(frozen=True, slots=True)
class SizeChange:
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
        down_idle_seconds: places to spare for so long are a reason for one fewer.
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
        self._idle_since: float | None = None
        self._looked_at: float | None = None
        #: Most places taken at once since then.
        self._busiest = 0

    def decide(self, load: Load, now: float) -> SizeChange | None:
        """Look at the load at `now` (never earlier than before); the new size, if it is another."""
        self.held_because = load.held_because
        self._note_idleness(load, now)
        if load.held_because is not None:
            return None
        change = self._growth(load, now) or self._shrinkage(load, now)
        if change is not None:
            self.last_change, self._idle_since = change, None
        return change

    def _note_idleness(self, load: Load, now: float) -> None:
        """Note since when there have been places to spare, at every look without a gap."""
        paused = self._looked_at is not None and now - self._looked_at > LOOK_GAP_SECONDS
        self._looked_at = now
        if paused or load.held_because is not None or not self._has_room_to_spare(load):
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since, self._busiest = now, load.places_used
        else:
            self._busiest = max(self._busiest, load.places_used)

    def _has_room_to_spare(self, load: Load) -> bool:
        left = load.places * (load.processes - 1) / load.processes
        return load.wait_seconds <= self._up_wait_seconds and load.places_used <= SPARE_PART * left

    def _growth(self, load: Load, now: float) -> SizeChange | None:
        last = self.last_change
        if last is not None:
            grew = last.direction is Direction.UP
            if grew and now - last.at < GROW_SECONDS:
                return None
            if load.wait_read_at <= last.at:
                return None  # what waited before the last step says nothing of its effect
        if load.wait_seconds <= self._up_wait_seconds or load.places == 0:
            return None
        if load.places_used < FULL_PART * load.places:
            return None  # more places would not help: those that there are, are not taken
        factor = min(2.0, load.wait_seconds / self._up_wait_seconds)
        processes = self.bounds.clamp(math.ceil(load.processes * factor))
        if processes <= load.processes:
            return None
        waited = durations.brief(load.wait_seconds)
        taken = f"{load.places_used} of {load.places} places are taken"
        reason = f"the oldest ready task has waited {waited}, and {taken}"
        return SizeChange(load.processes, processes, reason, now)

    def _shrinkage(self, load: Load, now: float) -> SizeChange | None:
        since = self._idle_since
        if since is None or now - since < self._down_idle_seconds:
            return None
        if load.processes <= self.bounds.least:
            return None
        lasted = durations.brief(now - since)
        reason = f"at most {self._busiest} of {load.places} places taken for {lasted}"
        return SizeChange(load.processes, load.processes - 1, reason, now)
