"""What did not happen in time: boots, silences, a pool without workers."""

import signal

import pytest

from ipc.messages import PROTOCOL, Drained, Dump, Fault, Hello, Loaded, Waiting
from supervisor.exit_codes import ExitCode
from supervisor.observer import PoolReady
from supervisor.pool.state import pool_commands
from supervisor.pool.state.inbox_events import CommandReceived, NurseryMessage, SignalReceived, Tick
from supervisor.pool.state.worker_registry import Cause
from supervisor.signals import ReceivedSignal
from tests.support.recording_process_control import Rig


def test_a_pool_with_no_ready_worker_within_the_boot_timeout_ends_with_3() -> None:
    rig = Rig(1)
    rig.load()
    rig.fork(rig.first)
    rig.say(rig.first, Waiting("connection refused"))
    rig.pass_seconds(30.5)
    assert rig.pool_state.drain is not None
    assert rig.pool_state.drain.code is ExitCode.BOOT_FAILED
    assert rig.pool_state.drain.reason == (
        "no worker was ready within 30.0 s: the server cannot be reached: connection refused"
    )
    assert rig.process_control.killed == [rig.first.number]


def test_an_import_may_take_as_long_as_it_takes() -> None:
    rig = Rig(1)
    rig.feed(Tick())
    rig.pass_seconds(300.0)
    assert rig.pool_state.drain is None


def test_at_the_boot_timeout_one_ready_worker_is_a_pool() -> None:
    rig = Rig(2)
    rig.load()
    rig.fork(rig.second)
    rig.ready(rig.first)
    rig.pass_seconds(30.5, lambda: rig.beat(rig.first))
    (ready,) = rig.saw(PoolReady)
    assert ready.workers == 1


def test_a_worker_that_is_not_ready_in_time_is_killed_and_counts_as_a_crash() -> None:
    rig = Rig(2).boot()
    rig.exit(rig.first)
    late = rig.first
    rig.fork(late)
    rig.pass_seconds(30.5, lambda: rig.beat(rig.second))
    assert rig.process_control.killed == [late.number]
    assert late.kill_cause is Cause.BOOT
    rig.exit(late)
    assert rig.pool_state.totals.sums()["crashes"] == 2


def test_a_worker_that_waits_for_a_lost_server_is_not_hurried() -> None:
    rig = Rig(2).boot()
    rig.exit(rig.first)
    rig.fork(rig.first)
    rig.say(rig.first, Waiting("connection refused"))
    rig.pass_seconds(120.0, lambda: rig.beat(rig.second))
    assert rig.process_control.killed == []


def test_crashes_before_the_first_readiness_are_a_failed_boot() -> None:
    rig = Rig(1, max_restarts=1)
    rig.load()
    for _ in range(2):
        rig.fork(rig.first)
        rig.say(rig.first, Fault("bad dependencies", ""))
        rig.exit(rig.first, 256)
    assert rig.pool_state.drain is not None
    assert rig.pool_state.drain.code is ExitCode.BOOT_FAILED
    assert (rig.pool_state.drain.reason or "").endswith("bad dependencies")


def test_a_machine_that_was_suspended_kills_no_worker() -> None:
    rig = Rig(2).boot()
    rig.feed(Tick(regular=True))
    rig.now += 3600.0
    rig.feed(Tick(regular=True))
    assert rig.process_control.killed == []


def test_a_machine_that_was_suspended_while_it_booted_has_lost_no_time() -> None:
    rig = Rig(2)
    rig.feed(Tick(regular=True))
    rig.load()
    rig.fork(rig.first)
    rig.pass_seconds(20.0)
    rig.now += 3600.0
    rig.fork(rig.second)  # whatever comes first, no tick
    rig.pass_seconds(9.0)
    assert (
        rig.process_control.killed,
        rig.process_control.killed_nurseries,
        rig.pool_state.drain,
    ) == ([], [], None)
    rig.pass_seconds(2.0)
    assert rig.pool_state.drain is not None
    assert rig.pool_state.drain.code is ExitCode.BOOT_FAILED


def test_a_machine_that_was_suspended_while_it_drained_has_lost_no_time() -> None:
    rig = Rig(1).boot()
    rig.feed(Tick(regular=True))
    rig.feed(CommandReceived(pool_commands.Drain()))
    rig.now += 3600.0
    rig.pass_seconds(34.0, lambda: rig.beat(rig.first))
    assert rig.process_control.killed == []
    rig.pass_seconds(2.0, lambda: rig.beat(rig.first))
    assert rig.process_control.killed == [rig.first.number]


def test_a_pool_that_was_suspended_without_a_ready_worker_does_not_give_up_for_it() -> None:
    rig = Rig(1, max_restarts=1000).boot()
    rig.pass_seconds(1.0, lambda: rig.beat(rig.first))
    rig.exit(rig.first)
    rig.now += 3600.0
    rig.pass_seconds(20.0)
    assert rig.pool_state.drain is None


def test_an_import_that_hangs_is_logged_with_its_stack_ever_more_rarely(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(1)
    rig.feed(Tick())
    rig.feed(NurseryMessage(1, Hello(PROTOCOL, 1001)))
    rig.pass_seconds(85.0)
    assert caplog.text.count("still importing the task modules") == 5  # after 5, 10, 20, 40, 80 s
    assert rig.process_control.dumped_nurseries == [1] * 5
    rig.feed(NurseryMessage(1, Loaded(1, 85.0)))
    caplog.clear()
    rig.pass_seconds(20.0)
    assert "importing" not in caplog.text


def test_a_nursery_that_has_not_sent_hello_cannot_be_asked_for_its_stack() -> None:
    rig = Rig(1)
    rig.feed(Tick())
    rig.pass_seconds(6.0)
    assert rig.process_control.dumped_nurseries == []


def test_a_dump_of_all_includes_coroutines_and_a_nursery_that_imports() -> None:
    rig = Rig(2).boot()
    rig.nursery_exit(1)
    rig.feed(Tick())
    rig.feed(NurseryMessage(2, Hello(PROTOCOL, 1002)))
    rig.feed(SignalReceived(ReceivedSignal(signal.SIGUSR1, rig.now)))
    assert rig.process_control.dumped == [1, 2]
    assert [rig.process_control.sent_to(number, Dump) for number in (1, 2)] == [[Dump()], [Dump()]]
    assert rig.process_control.dumped_nurseries == [2]


def test_a_worker_that_hangs_while_it_starts_is_logged_with_its_stack(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(2)
    rig.load()
    rig.ready(rig.first)
    hung = rig.second
    rig.fork(hung)
    rig.pass_seconds(6.0, lambda: rig.beat(rig.first))
    assert "worker 2 (pid 5002) is still starting after 5.0 s" in caplog.text
    assert rig.process_control.dumped == [hung.number]
    assert rig.process_control.sent_to(hung.number, Dump) == [Dump()]
    rig.pass_seconds(26.0, lambda: rig.beat(rig.first))
    assert hung.kill_reason == "not ready within 30.0 s: where it hangs was logged"


def test_a_pool_without_workers_while_the_server_answers_gives_up() -> None:
    rig = Rig(1, max_restarts=1000).boot()
    rig.feed(Tick(regular=True))
    rig.exit(rig.first)
    rig.pass_seconds(61.0)
    assert rig.pool_state.drain is not None
    assert rig.pool_state.drain.code is ExitCode.GAVE_UP
    assert "no worker was ready for 1m00s" in (rig.pool_state.drain.reason or "")


def test_a_pool_whose_server_is_away_waits_for_ever() -> None:
    rig = Rig(1).boot()
    rig.say(rig.first, Waiting("connection refused"))
    rig.pass_seconds(600.0, lambda: rig.beat(rig.first))
    assert rig.pool_state.drain is None
    assert rig.process_control.killed == []


def test_beats_of_a_worker_that_is_gone_are_ignored() -> None:
    rig = Rig(1).boot()
    dead = rig.first
    rig.exit(dead)
    rig.keeper(dead, "order-1")
    assert rig.process_control.killed == []


def test_a_worker_that_has_drained_and_does_not_end_is_logged_with_its_stack_and_killed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(2, max_tasks=1, retire_timeout=None).boot()
    former = rig.first
    rig.feed(CommandReceived(pool_commands.Restart(1)))
    successor = rig.process_control.spawned[-1]
    rig.fork(successor)
    rig.ready(successor)
    rig.beat(former, started=3, succeeded=3)
    rig.say(former, Drained())
    rig.pass_seconds(3.75, lambda: [rig.beat(successor), rig.beat(rig.second)])
    assert rig.process_control.dumped == []
    rig.pass_seconds(1.0, lambda: [rig.beat(successor), rig.beat(rig.second)])
    assert rig.process_control.dumped == [former.number]
    assert "worker 1 (pid 5001) has finished its tasks and has not ended" in caplog.text
    assert rig.process_control.killed == []
    rig.pass_seconds(0.5, lambda: [rig.beat(successor), rig.beat(rig.second)])
    assert rig.process_control.killed == [former.number]
    rig.exit(former)
    sums = rig.pool_state.totals.sums()
    assert (sums["crashes"], sums["restarts"], sums["succeeded"]) == (0, 0, 3)
