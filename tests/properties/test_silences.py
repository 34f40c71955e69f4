"""The kills and the blame, whatever a worker does, and however late the supervisor is."""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.pool.state.inbox_events import Tick
from supervisor.pool.state.silence import ANSWER_SECONDS, BEATS_MISSED
from supervisor.pool.watchdog import TICK_SECONDS
from tests.support.recording_process_control import Rig

WARNING_SECONDS, TIMEOUT_SECONDS = 2.0, 6.0
BEAT_SECONDS = 0.5
#: From the timeout to the kill, at most: until the keeper is known to be silent, the answer to the
#: last question for its stack, and a tick for each.
GRACE_SECONDS = BEATS_MISSED * BEAT_SECONDS + ANSWER_SECONDS + 3 * TICK_SECONDS
#: A worker in one mode for so long shows it: nothing of what it did before is evidence any more.
SETTLED_SECONDS = TIMEOUT_SECONDS + GRACE_SECONDS


class Mode(Enum):
    """What a worker does, seen by the supervisor; or that the supervisor sees nothing."""

    ALIVE = "alive"
    BLOCKED = "blocked"
    HELD = "held"
    FROZEN = "frozen"
    #: The supervisor does not run: a suspended machine, or a starved one.
    AWAY = "away"


@dataclass
class Segment:
    """So many seconds of one mode."""

    mode: Mode
    seconds: float


SEGMENTS = st.lists(
    st.builds(
        Segment, st.sampled_from(Mode), st.integers(1, 60).map(lambda ticks: ticks * TICK_SECONDS)
    ),
    min_size=1,
    max_size=12,
)


class Watched:
    """A pool of two; the first worker is in the modes, the second is always well."""

    def __init__(self) -> None:
        self.rig = Rig(
            2,
            stall_warning=timedelta(seconds=WARNING_SECONDS),
            stall_timeout=timedelta(seconds=TIMEOUT_SECONDS),
        ).boot()
        self.worker = self.rig.first
        self.rig.feed(Tick(regular=True))
        self.silent_seconds = 0.0
        #: In this mode, without another between, for so long.
        self.mode_seconds = 0.0
        self.mode: Mode | None = None
        self._answered = 0
        self._keeper_due = self._loop_due = 0.0

    @property
    def killed(self) -> bool:
        return self.worker.number in self.rig.process_control.killed

    def live(self, segment: Segment) -> None:
        if segment.mode is Mode.AWAY:
            self.rig.now += segment.seconds + 1.0
            return
        if segment.mode is not self.mode:
            self.mode, self.mode_seconds = segment.mode, 0.0
        self.rig.pass_seconds(segment.seconds, self._tick)

    def _tick(self) -> None:
        if self.killed:
            return
        self.rig.beat(self.rig.second)
        self.mode_seconds += TICK_SECONDS
        now, asked = self.rig.now, self.rig.process_control.dumped.count(self.worker.number)
        if self.mode is Mode.ALIVE:
            self.silent_seconds = 0.0
            self.rig.beat(self.worker, "order-1")
        else:
            self.silent_seconds += TICK_SECONDS
        if self.mode in (Mode.ALIVE, Mode.BLOCKED) and now >= self._keeper_due:
            self._keeper_due = now + BEAT_SECONDS
            blocked = self.mode is Mode.BLOCKED and self.mode_seconds >= 2 * BEAT_SECONDS
            self.rig.keeper(self.worker, "order-1" if blocked else None)
        if self.mode is not Mode.FROZEN and asked > self._answered:
            self.rig.dump(self.worker)
            self._answered = asked


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(SEGMENTS)
def test_no_worker_is_killed_before_a_whole_timeout_of_its_silence_was_listened_to(
    segments: list[Segment],
) -> None:
    watched = Watched()
    for segment in segments:
        watched.live(segment)
        if watched.killed:
            assert watched.silent_seconds >= TIMEOUT_SECONDS
            return
        assert watched.silent_seconds < SETTLED_SECONDS


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(SEGMENTS)
def test_a_silence_that_has_settled_is_blamed_by_its_kind(segments: list[Segment]) -> None:
    watched = Watched()
    for segment in segments:
        watched.live(segment)
        if watched.killed:
            break
    if not watched.killed or watched.mode_seconds < SETTLED_SECONDS - TIMEOUT_SECONDS:
        return
    blame = watched.worker.blame or ""
    match watched.mode:
        case Mode.FROZEN:
            assert blame == "nobody"
        case Mode.BLOCKED:
            assert blame == "key:order-1"
        case Mode.HELD:
            # By its stack; or by name, if the keeper could still say so.
            assert blame in ("functions:", "key:order-1")
        case _:
            raise AssertionError(f"killed while it was {watched.mode}")


@pytest.mark.parametrize(
    ("mode", "words", "blame"),
    [
        (Mode.BLOCKED, "the event loop is blocked, in task 'order-1'", "key:order-1"),
        (Mode.HELD, "C code holds the GIL", "functions:"),
        (Mode.FROZEN, "the process is frozen", "nobody"),
    ],
)
@settings(max_examples=20)
@given(st.lists(st.tuples(st.floats(0.25, 3.0), st.floats(1.0, 7200.0)), max_size=6))
def test_interruptions_of_the_supervisor_change_neither_the_kind_nor_the_blame(
    mode: Mode, words: str, blame: str, gaps: list[tuple[float, float]]
) -> None:
    watched = Watched()
    watched.live(Segment(Mode.ALIVE, 1.0))
    for before, away in gaps:
        watched.live(Segment(mode, before))
        watched.live(Segment(Mode.AWAY, away))
    watched.live(Segment(mode, 2 * SETTLED_SECONDS))
    assert watched.killed
    assert words in (watched.worker.kill_reason or "")
    assert watched.worker.blame == blame
