from hypothesis import given
from hypothesis import strategies as st

from supervisor.silence import LATE_TICK_INTERVALS, Kind, Silence, TickClock


def test_the_first_tick_has_listened_to_nothing() -> None:
    assert TickClock(0.25).listened_seconds(100.0) == 0.0


def test_a_tick_on_time_has_listened_since_the_last() -> None:
    clock = TickClock(0.25)
    clock.listened_seconds(100.0)
    assert clock.listened_seconds(100.25) == 0.25


@given(st.lists(st.floats(0.0, 7200.0), max_size=40))
def test_a_suspended_machine_has_listened_to_nothing_meanwhile(gaps: list[float]) -> None:
    clock, now, silence = TickClock(0.25), 0.0, Silence()
    clock.listened_seconds(now)
    for gap in gaps:
        now += gap
        silence.listened(clock.listened_seconds(now))
    on_time = [gap for gap in gaps if gap <= LATE_TICK_INTERVALS * 0.25]
    assert silence.loop_seconds <= sum(on_time) + 1e-6


def test_a_keeper_that_beats_means_that_the_loop_is_blocked_by_the_task_it_names() -> None:
    silence = Silence()
    for _ in range(8):
        silence.listened(0.5)
        silence.keeper_spoke("order-1")
    assert silence.kind(0.5) is Kind.BLOCKED
    assert silence.culprit == "order-1"
    assert silence.loop_seconds == 4.0


def test_no_beat_either_means_that_the_whole_process_is_silent() -> None:
    silence = Silence()
    silence.listened(5.0)
    assert silence.kind(0.5) is Kind.FROZEN


def test_a_heartbeat_ends_the_silence() -> None:
    silence = Silence()
    silence.listened(5.0)
    silence.keeper_spoke("order-1")
    silence.warned = True
    silence.loop_spoke()
    assert silence == Silence()


def test_a_worker_that_waited_for_a_cpu_most_of_the_time_was_starved() -> None:
    silence = Silence(loop_seconds=10.0, waited_before=100.0)
    assert silence.was_starved(106.0)
    assert not silence.was_starved(104.0)


def test_a_kernel_that_tells_nothing_starves_nobody() -> None:
    assert not Silence(loop_seconds=10.0, waited_before=None).was_starved(106.0)
    assert not Silence(loop_seconds=10.0, waited_before=1.0).was_starved(None)
    assert not Silence(loop_seconds=0.0, waited_before=1.0).was_starved(2.0)
