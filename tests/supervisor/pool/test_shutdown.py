"""How a pool ends: the drain, its steps, what is adopted before the end, the exit codes."""

import signal
from datetime import timedelta

import pytest

from ipc.messages import Adopt, Adopted, Drain, Waiting
from supervisor.exit_codes import ExitCode
from supervisor.grace_periods import ADOPTION_SECONDS, CLEANUP_SECONDS
from supervisor.observer import DrainStarted, Stopped
from supervisor.pool.state import pool_commands
from supervisor.pool.state.inbox_events import CommandReceived, ServerEnded, SignalReceived, Tick
from supervisor.pool.state.worker_registry import WorkerState
from supervisor.signals import ReceivedSignal
from supervisor.worker.last_adopter import SLOT as ADOPTER_SLOT
from tests.support.recording_process_control import KILLED, Rig


def term(rig: Rig, number: int = signal.SIGTERM) -> None:
    rig.feed(SignalReceived(ReceivedSignal(number, rig.now)))


def finish(rig: Rig) -> None:
    """Every worker drains, and the nursery ends."""
    for worker in list(rig.pool_state.registry.alive()):
        rig.drain_and_exit(worker)
    rig.nursery_exit(1)


def test_term_drains_every_worker_the_steward_last() -> None:
    rig = Rig(3).boot()
    term(rig)
    drained = [number for number, message in rig.process_control.sent if isinstance(message, Drain)]
    assert drained == [2, 3, 1]
    assert rig.process_control.sent_to(1, Drain) == [Drain(30.0)]
    assert all(worker.state is WorkerState.DRAINING for worker in rig.pool_state.registry.alive())
    assert rig.pool_state.not_ready_because(rig.now) == "draining"
    assert rig.saw(DrainStarted)


def test_a_drained_pool_lets_its_nursery_go_and_ends_with_0() -> None:
    rig = Rig(2).boot()
    term(rig)
    rig.drain_and_exit(rig.first)
    assert rig.process_control.retired == []
    rig.drain_and_exit(rig.second)
    assert rig.process_control.retired == [1]
    assert rig.pool.outcome is None
    rig.nursery_exit(1)
    assert rig.pool.outcome is ExitCode.STOPPED
    assert rig.saw(Stopped)[0].code == 0


def test_nothing_is_started_while_the_pool_drains() -> None:
    rig = Rig(2).boot()
    term(rig)
    rig.drain_and_exit(rig.first)
    rig.pass_seconds(2.0, lambda: rig.beat(rig.second))
    assert len(rig.process_control.spawned) == 2


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("echo", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_and_its_echo_within_a_second_are_one_step(first: int, echo: int) -> None:
    rig = Rig(1).boot()
    term(rig, first)
    rig.now += 0.5
    term(rig, echo)
    assert rig.process_control.sent_to(1, Drain) == [Drain(30.0)]


def test_a_quit_requeues_at_once_and_a_second_one_kills(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    rig = Rig(1).boot()
    worker = rig.first
    term(rig, signal.SIGQUIT)
    assert rig.process_control.sent_to(1, Drain)[-1] == Drain(0.0)
    assert rig.process_control.killed == []
    rig.now += 1.5
    term(rig, signal.SIGQUIT)
    assert rig.process_control.killed == [worker.number]
    assert "SIGQUIT again: killing the workers" in caplog.text
    rig.exit(worker)
    rig.nursery_exit(1)
    assert rig.pool.outcome is ExitCode.STOPPED


def test_a_quit_shortens_a_drain_that_has_begun() -> None:
    rig = Rig(1).boot()
    term(rig)
    term(rig, signal.SIGQUIT)
    assert rig.process_control.sent_to(1, Drain) == [Drain(30.0), Drain(0.0)]
    assert rig.process_control.killed == []


def test_a_user_signal_that_means_nothing_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(1).boot()
    term(rig, signal.SIGUSR2)
    assert rig.pool_state.drain is None
    assert "SIGUSR2" in caplog.text


def test_a_second_signal_requeues_now_and_a_third_kills() -> None:
    rig = Rig(1).boot()
    term(rig)
    rig.now += 1.0
    term(rig, signal.SIGINT)
    assert rig.process_control.sent_to(1, Drain) == [Drain(30.0), Drain(0.0)]
    assert rig.process_control.killed == []
    rig.now += 1.5
    term(rig)
    assert rig.process_control.killed == [1]


def test_a_worker_that_ignores_the_deadline_is_killed_and_its_tasks_are_innocent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(
        2,
    ).boot()
    deaf, good = rig.first, rig.second
    term(rig)
    rig.drain_and_exit(good)
    rig.pass_seconds(30 + CLEANUP_SECONDS - 0.5, lambda: rig.beat(deaf, "slow"))
    assert rig.process_control.killed == []
    rig.pass_seconds(0.75, lambda: rig.beat(deaf, "slow"))
    assert rig.process_control.killed == [deaf.number]
    assert "ignored its drain" in caplog.text
    rig.exit(deaf)
    assert rig.saw(Stopped) == []


def test_with_no_worker_left_one_is_forked_that_adopts_and_ends() -> None:
    rig = Rig(1).boot()
    term(rig)
    rig.exit(rig.first)
    adopter = rig.process_control.spawned[-1]
    assert adopter.adopts_only
    assert adopter.slot == ADOPTER_SLOT
    rig.fork(adopter)
    rig.ready(adopter)
    (adopt,) = rig.process_control.sent_to(adopter.number, Adopt)
    assert (adopt.consumer, adopt.blame) == ("host#1.1", "everyone")
    rig.say(adopter, Adopted("host#1.1", 3))
    assert rig.process_control.sent_to(adopter.number, Drain) == [Drain(0.0)]
    assert rig.process_control.retired == []
    rig.drain_and_exit(adopter)
    rig.nursery_exit(1)
    assert rig.pool.outcome is ExitCode.STOPPED


def test_a_draining_worker_adopts_as_well_as_another() -> None:
    rig = Rig(2).boot()
    term(rig)
    rig.exit(rig.first)
    assert len(rig.process_control.sent_to(rig.second.number, Adopt)) == 1


def test_an_adopter_that_dies_is_followed_by_another_until_the_grace_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(1).boot()
    term(rig)
    rig.exit(rig.first)
    for _ in range(5):
        rig.exit(rig.process_control.spawned[-1])
    assert len(rig.process_control.spawned) == 3  # the second at once, the third after a pause
    rig.pass_seconds(0.25)
    assert len(rig.process_control.spawned) == 4
    rig.pass_seconds(ADOPTION_SECONDS + 0.5)
    assert "left for another pool to redeliver: what ran as host#1.1" in caplog.text
    assert not len(rig.pool_state.adoptions)


def test_an_adopter_sends_no_heartbeats_and_is_not_taken_for_stuck(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(1, stall_warning=timedelta(seconds=1), stall_timeout=timedelta(seconds=1)).boot()
    term(rig)
    rig.exit(rig.first)
    adopter = rig.process_control.spawned[-1]
    rig.fork(adopter)
    rig.ready(adopter)
    rig.pass_seconds(4.0)
    assert adopter.number not in rig.process_control.killed
    assert "GIL" not in caplog.text
    assert "silent" not in caplog.text


@pytest.mark.parametrize("killed", [True, False])
def test_what_is_left_while_the_server_is_away_is_left_to_another_pool_without_a_wait(
    caplog: pytest.LogCaptureFixture, *, killed: bool
) -> None:
    rig = Rig(2).boot()
    for worker in (rig.first, rig.second):
        rig.say(worker, Waiting("connection refused"))
    term(rig)
    rig.drain_and_exit(rig.second)  # nothing ran in it
    rig.exit(rig.first, KILLED if killed else 0)  # without Drained: its outcomes are not recorded
    assert "left for another pool to redeliver (the server is away): what ran as host#1.1" in (
        caplog.text
    )
    assert len(rig.process_control.spawned) == 2
    rig.nursery_exit(1)
    assert rig.pool.outcome is ExitCode.STOPPED


def test_a_worker_that_lost_the_server_alone_is_adopted_by_a_process_of_its_own() -> None:
    rig = Rig(2).boot()
    rig.say(rig.first, Waiting("maxclients"))
    term(rig)
    rig.exit(rig.first)
    rig.drain_and_exit(rig.second)
    assert rig.process_control.spawned[-1].adopts_only


def test_an_adopter_that_does_not_end_is_killed() -> None:
    rig = Rig(1).boot()
    term(rig)
    rig.exit(rig.first)
    adopter = rig.process_control.spawned[-1]
    rig.fork(adopter)
    rig.ready(adopter)
    rig.say(adopter, Adopted("host#1.1", 3))
    rig.pass_seconds(6.0)
    assert adopter.number in rig.process_control.killed


def test_without_a_nursery_adoptions_are_left_to_another_pool(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(1).boot()
    term(rig)
    rig.nursery_exit(1, 9)
    rig.exit(rig.first)
    assert rig.pool.outcome is ExitCode.STOPPED
    assert "left for another pool to redeliver" in caplog.text


def test_a_fourth_signal_waits_for_no_adoption() -> None:
    rig = Rig(1).boot()
    for _ in range(4):
        term(rig)
        rig.now += 1.5
    rig.exit(rig.first)
    assert len(rig.process_control.spawned) == 1
    assert rig.process_control.retired == [1]


def test_a_nursery_that_does_not_end_is_killed() -> None:
    rig = Rig(1).boot()
    term(rig)
    rig.drain_and_exit(rig.first)
    rig.pass_seconds(6.0)
    assert rig.process_control.killed_nurseries == [1]


def test_a_nursery_that_still_imports_is_not_waited_for() -> None:
    rig = Rig(1)
    rig.feed(Tick())
    term(rig)
    assert rig.process_control.killed_nurseries == [1]
    rig.nursery_exit(1, 9)
    assert rig.pool.outcome is ExitCode.STOPPED


def test_a_worker_that_was_not_listening_yet_gets_its_drain_again_when_it_is() -> None:
    rig = Rig(1)
    rig.load()
    rig.fork(rig.first)
    term(rig)
    rig.now += 1.0
    rig.ready(rig.first)
    assert rig.process_control.sent_to(rig.first.number, Drain) == [Drain(30.0), Drain(29.0)]
    assert rig.first.state is WorkerState.DRAINING


def test_a_worker_that_never_had_a_server_is_not_waited_for() -> None:
    rig = Rig(1)
    rig.load()
    rig.fork(rig.first)
    rig.say(rig.first, Waiting("connection refused"))
    term(rig)
    assert rig.process_control.sent_to(rig.first.number, Drain) == [Drain(30.0)]
    rig.pass_seconds(4.75)
    assert rig.process_control.killed == []
    rig.pass_seconds(0.5)
    assert rig.process_control.killed == [rig.first.number]


def test_a_worker_whose_readiness_was_on_its_way_keeps_its_time_to_drain() -> None:
    rig = Rig(1)
    rig.load()
    rig.fork(rig.first)
    rig.say(rig.first, Waiting("connection refused"))
    term(rig)
    rig.ready(rig.first)
    rig.pass_seconds(29.0, lambda: rig.beat(rig.first, "a task"))
    assert rig.process_control.killed == []


def test_a_program_may_drain_and_requeue() -> None:
    rig = Rig(1).boot()
    rig.feed(CommandReceived(pool_commands.Requeue()))
    assert rig.process_control.sent_to(1, Drain) == [Drain(30.0), Drain(0.0)]
    rig.feed(CommandReceived(pool_commands.Requeue()))
    assert rig.process_control.killed == []
    rig.feed(CommandReceived(pool_commands.Drain()))
    finish(rig)
    assert rig.pool.outcome is ExitCode.STOPPED


def test_an_embedded_server_that_ended_ends_the_pool_at_once_with_4(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    rig = Rig(2).boot()
    rig.feed(ServerEnded())
    assert sorted(rig.process_control.killed) == [1, 2]
    assert "killing 2 workers (0 tasks at their last heartbeats), at once: " in caplog.text
    rig.exit(rig.first)
    rig.exit(rig.second)
    rig.nursery_exit(1)
    assert rig.pool.outcome is ExitCode.GAVE_UP
    assert rig.pool_state.drain is not None
    assert "embedded server" in (rig.pool_state.drain.reason or "")


@pytest.mark.parametrize("log", [None, "/data/server.log"])
def test_the_reason_names_the_log_of_the_server_if_there_is_one(log: str | None) -> None:
    rig = Rig(1).boot()
    rig.feed(ServerEnded(log))
    assert rig.pool_state.drain is not None
    assert rig.pool_state.drain.reason == "the embedded server ended by itself; " + (
        "memory:// keeps no log" if log is None else "its log /data/server.log tells why"
    )


def test_an_embedded_server_that_ends_during_a_drain_cuts_it_short() -> None:
    rig = Rig(1).boot()
    term(rig)
    rig.feed(ServerEnded())
    assert rig.process_control.killed == [1]


def test_a_drain_keeps_its_first_reason() -> None:
    rig = Rig(1).boot()
    term(rig)
    rig.feed(ServerEnded())
    finish(rig)
    assert rig.pool.outcome is ExitCode.STOPPED
