"""The restart window and the backoff, against models that keep everything."""

from hypothesis import given
from hypothesis import strategies as st

from supervisor.backoff import BACKOFF_BASE_SECONDS, Backoff
from supervisor.pool.state.restart_window import RestartWindow

GAPS = st.lists(st.floats(min_value=0, max_value=30), max_size=60)


@given(intensity=st.integers(0, 10), period=st.floats(1, 60), gaps=GAPS)
def test_the_window_agrees_with_one_that_forgets_nothing(
    intensity: int, period: float, gaps: list[float]
) -> None:
    window, everything, now = RestartWindow(intensity, period), [], 0.0
    for gap in gaps:
        now += gap
        everything.append(now)
        within = [each for each in everything if each > now - period]
        assert window.record(now) is (len(within) > intensity)


def test_a_window_that_allows_none_is_exceeded_by_the_first_restart() -> None:
    assert RestartWindow(0, 60).record(5.0)


@given(healths=st.lists(st.floats(0, 120), min_size=1, max_size=50), cap=st.floats(0, 30))
def test_the_upper_bound_of_the_pause_doubles_up_to_its_cap_and_starts_anew_with_health(
    healths: list[float], cap: float
) -> None:
    backoff = Backoff(cap, 60.0, jitter=lambda most: most)
    failures = 0
    for health in healths:
        failures = 1 if health >= 60 else failures + 1
        expected = 0.0 if failures == 1 else min(cap, BACKOFF_BASE_SECONDS * 2 ** (failures - 2))
        assert backoff.pause_after(health) == expected


@given(failures=st.integers(1, 200))
def test_jitter_takes_any_part_of_the_bound_and_never_more(failures: int) -> None:
    backoff = Backoff(30.0, 60.0)
    pauses = [backoff.pause_after(0.0) for _ in range(failures)]
    assert pauses[0] == 0.0
    assert all(0 <= pause <= 30.0 for pause in pauses)


def test_a_crash_loop_of_days_stays_at_the_cap() -> None:
    backoff = Backoff(30.0, 60.0, jitter=lambda most: most)
    assert [backoff.pause_after(0.0) for _ in range(5000)][-1] == 30.0
