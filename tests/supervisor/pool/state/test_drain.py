from supervisor.exit_codes import ExitCode
from supervisor.grace_periods import ADOPTION_SECONDS, CLEANUP_SECONDS
from supervisor.pool.state.drain import DrainProgress, Step


def make() -> DrainProgress:
    return DrainProgress(ExitCode.STOPPED, None, deadline=30.0)


def test_each_signal_is_a_step_harder_and_the_last_stays() -> None:
    drain = make()
    steps = [drain.escalate(1.0) for _ in range(4)]
    assert steps == [Step.REQUEUE, Step.KILL, Step.ABANDON, Step.ABANDON]


def test_a_second_signal_brings_the_deadline_to_now_and_no_later() -> None:
    drain = make()
    assert drain.seconds_left(10.0) == 20.0
    drain.escalate(10.0)
    assert drain.seconds_left(10.0) == 0.0
    drain.escalate(50.0)
    assert drain.deadline == 10.0


def test_workers_that_ignore_the_deadline_are_killed_after_a_grace() -> None:
    drain = make()
    assert not drain.must_kill(30.0 + CLEANUP_SECONDS - 0.1)
    assert drain.must_kill(30.0 + CLEANUP_SECONDS)


def test_a_third_signal_kills_at_once() -> None:
    drain = make()
    drain.escalate(1.0)
    drain.escalate(2.0)
    assert drain.must_kill(2.0)


def test_adopting_is_given_up_after_its_grace_or_at_the_last_signal() -> None:
    drain = make()
    assert not drain.gives_up_adopting(1000.0)
    drain.emptied_at = 40.0
    assert not drain.gives_up_adopting(40.0 + ADOPTION_SECONDS - 0.1)
    assert drain.gives_up_adopting(40.0 + ADOPTION_SECONDS)
    drain.emptied_at = None
    drain.step = Step.ABANDON
    assert drain.gives_up_adopting(0.0)


def test_time_in_which_this_process_did_not_run_postpones_both_deadlines() -> None:
    drain = make()
    drain.postpone(100.0)
    assert drain.deadline == 130.0
    assert drain.emptied_at is None
    drain.emptied_at = 200.0
    drain.postpone(50.0)
    assert not drain.gives_up_adopting(250.0 + ADOPTION_SECONDS - 0.1)
    assert drain.gives_up_adopting(250.0 + ADOPTION_SECONDS)
