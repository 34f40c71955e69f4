"""When a pool gives up and how long it pauses, against models that forget nothing."""

from datetime import timedelta
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from supervisor.backoff import BACKOFF_BASE_SECONDS, Backoff
from supervisor.exit_codes import ExitCode
from supervisor.pool.state.restart_window import RestartWindow
from tests.support.recording_process_control import Rig


class Windows(RuleBasedStateMachine):
    """Times are whole milliseconds, so that a restart may be exactly one window old."""

    @initialize(intensity=st.integers(0, 8), period=st.integers(1, 5000))
    def start(self, intensity: int, period: int) -> None:
        self.intensity, self.period, self.now = intensity, period, 0
        self.window = RestartWindow(intensity, period)
        self.everything: list[int] = []

    @rule(milliseconds=st.integers(0, 6000))
    def wait(self, milliseconds: int) -> None:
        self.now += milliseconds

    @precondition(lambda self: self.everything)
    @rule(data=st.data())
    def wait_until_one_is_as_old_as_the_window(self, data: st.DataObject) -> None:
        self.now = max(self.now, data.draw(st.sampled_from(self.everything)) + self.period)

    @rule(intensity=st.integers(0, 8))
    def scale(self, intensity: int) -> None:
        self.intensity = intensity
        self.window.intensity = intensity

    @rule()
    def restart(self) -> None:
        self.everything.append(self.now)
        recent = sum(self.now - at < self.period for at in self.everything)
        assert self.window.record(self.now) is (recent > self.intensity)


TestWindows = Windows.TestCase


@given(
    intensity=st.integers(0, 10),
    period=st.integers(1, 1000),
    gaps=st.lists(st.integers(0, 400), max_size=80),
)
def test_there_are_never_more_restarts_in_a_window_than_allowed_without_giving_up(
    intensity: int, period: int, gaps: list[int]
) -> None:
    window, now, until_given_up = RestartWindow(intensity, period), 0, list[int]()
    for gap in gaps:
        now += gap
        if window.record(now):
            break
        until_given_up.append(now)
    for index, at in enumerate(until_given_up):
        after = until_given_up[index : index + intensity + 1]
        assert len(after) <= intensity or after[-1] - at >= period


def bound(deaths_in_a_row: int, cap: float) -> float:
    """By addition, not by powers: 0.1, then twice as much each time, never over the cap."""
    most = BACKOFF_BASE_SECONDS
    for _ in range(deaths_in_a_row - 2):
        most = min(cap, most + most)
    return 0.0 if deaths_in_a_row == 1 else min(cap, most)


@given(
    healths=st.lists(st.sampled_from([0.0, 1.0, 59.999, 60.0, 60.001, 1e6]), min_size=1),
    cap=st.sampled_from([0.0, 0.05, 0.1, 1.0, 30.0, 3600.0]),
    part=st.floats(0, 1),
)
def test_a_pause_is_the_jitter_of_its_bound_and_one_window_of_health_starts_anew(
    healths: list[float], cap: float, part: float
) -> None:
    backoff, in_a_row = Backoff(cap, 60.0, jitter=lambda most: most * part), 0
    for health in healths:
        in_a_row = 1 if health >= 60.0 else in_a_row + 1
        assert backoff.pause_after(health) == bound(in_a_row, cap) * part


@given(st.lists(st.floats(0, 59), min_size=1, max_size=60), st.floats(0, 30))
def test_no_pause_is_longer_than_its_bound_whatever_the_dice_say(
    healths: list[float], cap: float
) -> None:
    backoff = Backoff(cap, 60.0)
    for deaths, health in enumerate(healths, start=1):
        assert 0.0 <= backoff.pause_after(health) <= bound(deaths, cap)


def test_the_jitter_is_full_workers_that_died_of_one_cause_do_not_come_back_in_step() -> None:
    pauses: list[float] = []
    for _ in range(400):
        backoff = Backoff(30.0, 60.0)
        pauses.append([backoff.pause_after(0.0) for _ in range(6)][-1])
    most = bound(6, 30.0)
    assert min(pauses) < 0.1 * most
    assert max(pauses) > 0.9 * most
    assert len(set(pauses)) > 300
    assert all(later - earlier < most / 4 for earlier, later in pairwise(sorted(pauses)))


CRASHES = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from([0.25, 1.0, 2.75, 3.0, 6.0])), max_size=14
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(crashes=CRASHES, allowed=st.integers(0, 5))
def test_a_pool_gives_up_exactly_when_too_many_of_its_workers_died_in_a_window(
    crashes: list[tuple[int, float]], allowed: int
) -> None:
    rig = Rig(3, max_restarts=allowed, restart_window=timedelta(seconds=6)).boot()
    deaths: list[float] = []
    for slot, seconds in crashes:
        rig.pass_seconds(seconds, lambda: _go_on(rig))
        if rig.worker(slot).alive:
            deaths.append(rig.now)
            rig.exit(rig.worker(slot))
        recent = sum(rig.now - at < 6 for at in deaths)
        if recent > allowed:
            assert rig.pool_state.drain is not None
            assert rig.pool_state.drain.code is ExitCode.GAVE_UP
            assert f"more than {allowed} restarts in 6.0 s" in (rig.pool_state.drain.reason or "")
            return
        assert rig.pool_state.drain is None


def _go_on(rig: Rig) -> None:
    """Let workers that were asked for get ready, and workers that are ready beat."""
    for worker in list(rig.pool_state.registry.alive()):
        if worker.is_starting:
            rig.fork(worker)
            rig.ready(worker)
        rig.beat(worker)
