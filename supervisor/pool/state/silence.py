"""The silence of one worker's loop: its length, and its kind (pure).

Silence is summed over ticks of the supervisor that were themselves on time, each after every
readable channel was read: a machine that was suspended, or a supervisor that was starved, has not
listened, and kills no worker for a silence that it did not hear.

Two witnesses distinguish three kinds. The keeper is a thread of the worker that beats as
long as the process runs Python; the dump is written by a signal handler in C, as long as the
process runs at all.

                        the loop      the keeper    a dump
    blocked             silent        beats         comes
    C holds the GIL     silent        silent        comes
    frozen              silent        silent        does not come
"""

from enum import StrEnum

from msgspec import Struct

#: A tick that comes later than this many intervals after the last was not on time.
LATE_TICK_INTERVALS = 3.0
#: A worker that waited for a CPU for more than this part of its silence was starved, not stuck.
STARVED_PART = 0.5
#: A keeper that beats this many intervals after the last heartbeat runs beside a blocked loop.
BEATS_BESIDE = 2.0
#: A keeper that has missed this many beats is silent too.
BEATS_MISSED = 4.0
#: A process that was asked for its stack and has not written it for so long does not run.
ANSWER_SECONDS = 2.0


class SilenceKind(StrEnum):
    """The causes of a silence, in the words of the log."""

    #: A task runs Python, or waits, without giving the loop its turn.
    BLOCKED = "the event loop is blocked"
    #: Nothing in the process gets to run Python.
    HELD = "C code holds the GIL"
    #: Stopped by a signal, or in a wait that the kernel does not interrupt.
    FROZEN = "the process is frozen"
    #: Not stuck: it wants a CPU and does not get one.
    STARVED = "it waits for a CPU"


class TickClock:
    """Turn ticks into the seconds that may be counted as listened to."""

    def __init__(self, interval_seconds: float) -> None:
        self._interval_seconds = interval_seconds
        self._last: float | None = None

    def lost_seconds(self, now: float) -> float:
        """The seconds since the last tick, if the next one is overdue: this process did not run."""
        last = self._last
        if last is None or now - last <= LATE_TICK_INTERVALS * self._interval_seconds:
            return 0.0
        self._last = now
        return now - last

    def listened_seconds(self, now: float) -> float:
        """The seconds since the last tick, or 0 if this one is too late to say."""
        last = self._last
        if last is None or self.lost_seconds(now):
            self._last = now
            return 0.0
        self._last = max(last, now)
        return max(0.0, now - last)


class Silence(Struct):
    """The silence of one worker. Seconds are those listened to, not those that passed."""

    loop_seconds: float = 0.0
    keeper_seconds: float = 0.0
    #: The key of the task that the loop is in, by the keeper's last beat within this silence.
    blocking_key: str | None = None
    #: Warned of once a silence.
    warned: bool = False
    #: Seconds of waiting for a CPU, as the kernel counts them, when `loop_seconds` was
    #: `measured_at`.
    waited_before: float | None = None
    measured_at: float = 0.0
    #: Seconds that it has had a CPU, measured at the same time.
    used_before: float | None = None
    #: Seconds of CPU in earlier parts of this silence, for which it was spared.
    used_spared: float = 0.0
    #: `loop_seconds` when its stack was asked for last; None: not in this silence.
    asked_at: float | None = None
    #: What came in answer to that, None: nothing yet.
    dump: str | None = None
    #: `loop_seconds` when it had lasted too long.
    kill_due_at: float | None = None

    def keeper_beat(self, blocking_key: str | None) -> None:
        """Note a beat of the keeper: the process runs Python, whatever its loop does."""
        self.keeper_seconds = 0.0
        self.blocking_key = blocking_key

    def listened(self, seconds: float) -> None:
        """Add so many seconds of listening, in which nothing came."""
        self.loop_seconds += seconds
        self.keeper_seconds += seconds

    def measured(self, waited: float | None, used: float | None) -> None:
        """Note the CPU waits and the CPU time so far, if known: what follows counts."""
        if self.waited_before is None:
            self.waited_before, self.used_before = waited, used
            self.measured_at = self.loop_seconds

    def used(self, used_now: float | None) -> float:
        """The seconds of CPU in this silence, as far as they are known."""
        if used_now is None or self.used_before is None:
            return self.used_spared
        return self.used_spared + used_now - self.used_before

    def spared(self, used_now: float | None) -> "Silence":
        """The same time again for a starved worker, but with the CPU seconds that it had."""
        return Silence(used_spared=self.used(used_now))

    def dump_requested(self) -> None:
        """Note that it was sent the signal that makes it write its stack."""
        self.asked_at, self.dump = self.loop_seconds, None

    def dump_received(self, dump: str) -> None:
        """Keep the stack that it wrote, unless that was not asked for in this silence."""
        if self.asked_at is not None:
            self.dump = dump

    @property
    def awaits_dump(self) -> bool:
        """Return True if its stack was asked for and has not come."""
        return self.asked_at is not None and self.dump is None

    @property
    def dump_is_late(self) -> bool:
        """Return True if a stack that comes now was asked for so long ago that it was stopped."""
        if self.asked_at is None or self.dump is not None:
            return False
        return self.loop_seconds - self.asked_at > ANSWER_SECONDS

    def kind(self, beat_seconds: float) -> SilenceKind | None:
        """The kind of silence, given the interval of the keeper's beats; None: too early to say.

        STARVED is decided elsewhere: see `was_starved`.
        """
        if self.keeper_seconds < BEATS_MISSED * beat_seconds:
            heard_beside = self.loop_seconds - self.keeper_seconds >= BEATS_BESIDE * beat_seconds
            return SilenceKind.BLOCKED if heard_beside else None
        if self.dump is not None:
            return SilenceKind.HELD
        if self.asked_at is None or self.loop_seconds - self.asked_at < ANSWER_SECONDS:
            return None
        return SilenceKind.FROZEN

    def was_starved(self, waited_now: float | None) -> bool:
        """Return True if more than half of the silence, where measured, was waiting for a CPU."""
        measured = self.loop_seconds - self.measured_at
        if waited_now is None or self.waited_before is None or measured <= 0:
            return False
        return waited_now - self.waited_before > STARVED_PART * measured


class Starvation:
    """The warnings of one worker that gets too little CPU: each after twice the time of the last.

    Arguments:
        seconds: from the first warning to the second.
    """

    def __init__(self, seconds: float) -> None:
        self._interval = seconds
        self._passed = 0.0
        self._due = 0.0

    def pass_seconds(self, seconds: float) -> None:
        """Count time since the first warning."""
        self._passed += seconds

    def is_news(self) -> bool:
        """Return True if a warning is due, and count it as given."""
        if self._passed < self._due:
            return False
        self._interval *= 2
        self._due = self._passed + self._interval
        return True
