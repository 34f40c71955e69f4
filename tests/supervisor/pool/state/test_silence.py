from hypothesis import given
from hypothesis import strategies as st

from supervisor.pool.state.silence import (
    ANSWER_SECONDS,
    LATE_TICK_INTERVALS,
    Silence,
    SilenceKind,
    TickClock,
)


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


def test_lost_time_is_lost_once_and_counts_as_listened_for_no_worker() -> None:
    clock = TickClock(0.25)
    assert clock.lost_seconds(100.0) == 0.0
    clock.listened_seconds(100.0)
    assert clock.lost_seconds(100.5) == 0.0
    assert clock.lost_seconds(160.0) == 60.0
    assert clock.lost_seconds(160.0) == 0.0
    assert clock.listened_seconds(160.25) == 0.25
    assert clock.listened_seconds(160.0) == 0.0


def test_a_keeper_that_beats_means_that_the_loop_is_blocked_by_the_task_it_names() -> None:
    silence = Silence()
    for _ in range(8):
        silence.listened(0.5)
        silence.keeper_beat("order-1")
    assert silence.kind(0.5) is SilenceKind.BLOCKED
    assert silence.blocking_key == "order-1"
    assert silence.loop_seconds == 4.0


def test_no_beat_but_a_stack_means_that_c_code_holds_the_gil() -> None:
    silence = Silence()
    silence.listened(5.0)
    silence.dump_requested()
    assert silence.kind(0.5) is None
    silence.dump_received("Current thread 0x1")
    assert silence.kind(0.5) is SilenceKind.HELD


def test_neither_beat_nor_stack_means_that_the_process_is_frozen() -> None:
    silence = Silence()
    silence.listened(5.0)
    assert silence.kind(0.5) is None
    silence.dump_requested()
    silence.listened(ANSWER_SECONDS - 0.5)
    assert silence.kind(0.5) is None
    silence.listened(0.5)
    assert silence.kind(0.5) is SilenceKind.FROZEN


def test_a_stack_that_was_not_asked_for_is_no_evidence() -> None:
    silence = Silence()
    silence.dump_received("Current thread 0x1")
    silence.listened(5.0)
    silence.dump_requested()
    silence.listened(ANSWER_SECONDS)
    assert silence.kind(0.5) is SilenceKind.FROZEN


def test_a_keeper_beat_just_after_a_heartbeat_is_no_evidence_yet() -> None:
    silence = Silence()
    silence.listened(0.5)
    silence.keeper_beat(None)
    silence.listened(1.0)
    assert silence.kind(0.5) is None


def test_a_worker_that_waited_for_a_cpu_most_of_the_time_was_starved() -> None:
    silence = Silence(loop_seconds=10.0, waited_before=100.0)
    assert silence.was_starved(106.0)
    assert not silence.was_starved(104.0)


def test_only_the_part_of_a_silence_that_was_measured_shows_starvation() -> None:
    silence = Silence()
    silence.listened(1.0)
    silence.measured(100.0, None)
    assert not silence.was_starved(101.0)
    silence.listened(1.0)
    silence.measured(100.9, None)
    assert silence.was_starved(100.6)
    assert not silence.was_starved(100.4)


def test_cpu_time_adds_up_over_the_parts_of_a_silence_that_were_spared() -> None:
    silence = Silence()
    silence.listened(1.0)
    silence.measured(0.0, 50.0)
    assert silence.used(53.0) == 3.0
    silence = silence.spared(53.0)
    assert (silence.loop_seconds, silence.used(60.0)) == (0.0, 3.0)
    silence.measured(0.0, 54.0)
    assert silence.used(56.0) == 5.0
    assert silence.used(None) == 3.0


def test_a_kernel_without_figures_starves_no_worker() -> None:
    assert not Silence(loop_seconds=10.0, waited_before=None).was_starved(106.0)
    assert not Silence(loop_seconds=10.0, waited_before=1.0).was_starved(None)
    assert not Silence(loop_seconds=0.0, waited_before=1.0).was_starved(2.0)
