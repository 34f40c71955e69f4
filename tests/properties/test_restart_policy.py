"""When a pool gives up and how long it pauses, against models that forget nothing."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ipc.messages import Drained
from supervisor.backoff import BACKOFF_BASE_SECONDS, Backoff
from supervisor.exit_codes import ExitCode
from supervisor.pool.state.pool_state import HEARTBEAT_SECONDS
from supervisor.pool.state.restart_window import RestartStreak, RestartWindow
from tests.support.recording_process_control import Rig

#: All examples of a property of whole pools take ten seconds of a CPU, and a busy machine longer.
pytestmark = pytest.mark.timeout(300)


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


@given(
    intensity=st.integers(0, 100),
    steps=st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=60),
)
def test_a_streak_is_too_long_after_a_window_of_enough_restarts_without_health(
    intensity: int, steps: list[tuple[int, bool]]
) -> None:
    streak, now, model = RestartStreak(60.0), 0, list[int]()
    for gap, healthy in steps:
        now += gap
        if healthy:
            streak.broken()
            model.clear()
        model.append(now)
        too_long = now - model[0] >= 60 and len(model) >= max(3, -(-intensity // 10))
        assert streak.record(now, intensity) is too_long


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
    streak: list[float] = []
    for slot, seconds in crashes:
        rig.pass_seconds(seconds, lambda: _go_on(rig))
        if not rig.worker(slot).alive:
            continue
        if max(_lives(rig)) >= 6:
            streak.clear()
        deaths.append(rig.now)
        streak.append(rig.now)
        rig.exit(rig.worker(slot))
        recent = sum(rig.now - at < 6 for at in deaths)
        if recent > allowed:
            _assert_given_up(rig, f"more than {allowed} restarts in 6.0 s")
            return
        if len(streak) >= 3 and streak[-1] - streak[0] >= 6:
            _assert_given_up(rig, "workers died for 6.0 s, and none lived that long")
            return
        assert rig.pool_state.drain is None


def _lives(rig: Rig) -> list[float]:
    ready = [each.ready_at for each in rig.pool_state.registry.alive()]
    return [rig.now - at for at in ready if at is not None]


def _assert_given_up(rig: Rig, reason: str) -> None:
    drain = rig.pool_state.drain
    assert drain is not None
    assert drain.code is ExitCode.GAVE_UP
    assert reason in (drain.reason or "")


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    processes=st.integers(1, 4),
    life=st.one_of(st.sampled_from([0.0, 0.25, 5.0, 30.0, 59.0]), st.floats(0, 59)),
)
@example(processes=1, life=5.0)
@example(processes=2, life=5.0)
@example(processes=4, life=59.0)
def test_a_crash_loop_is_given_up_whatever_the_length_of_its_lives(
    processes: int, life: float
) -> None:
    """With the default settings: windows of a minute, ten restarts a process, pauses up to 30 s."""
    rig = Rig(processes).boot()
    began = rig.now + life
    while rig.pool_state.drain is None:
        assert rig.now < began + 3 * (60.0 + 30.0), "the crash loop goes on"
        rig.pass_seconds(0.25, lambda: _die_young(rig, life))
    assert rig.pool_state.drain.code is ExitCode.GAVE_UP


def _die_young(rig: Rig, life: float) -> None:
    _go_on(rig)
    for worker in list(rig.pool_state.registry.alive()):
        if rig.pool_state.drain is None and rig.now - (worker.ready_at or rig.now) >= life:
            rig.exit(worker)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(life=st.floats(0, 120), told=st.booleans())
def test_a_pool_with_a_healthy_worker_or_with_orderly_ends_outlives_a_crash_loop(
    life: float, told: bool
) -> None:
    rig = Rig(2).boot()

    def go_on() -> None:
        _go_on(rig)
        first = rig.worker(1)
        if first.alive and rig.now - (first.ready_at or rig.now) >= life and rig.now > 161.0:
            rig.exit(first)
        second = rig.worker(2)
        if told and second.alive and rig.now - (second.ready_at or rig.now) >= 20.0:
            rig.say(second, Drained())
            rig.exit(second, 0)

    for _ in range(40):
        deaths = rig.pool_state.totals.restarts.total()
        rig.pass_seconds(10.0, go_on)
        if rig.pool_state.totals.restarts.total() - deaths > 5:
            return  # that many are no lives of seconds, but a case for --max-restarts
        assert rig.pool_state.drain is None


def _go_on(rig: Rig) -> None:
    """Let workers that were asked for get ready, and workers that are ready beat twice a second."""
    for worker in list(rig.pool_state.registry.alive()):
        if worker.is_starting:
            rig.fork(worker)
            rig.ready(worker)
        if rig.now % HEARTBEAT_SECONDS == 0:
            rig.beat(worker)
