"""How nurseries come and go, as the pool decides it."""

import pytest

from ipc.messages import PROTOCOL, Exited, Hello, LoadFailed, Spawned, SpawnFailed, Unsafe
from supervisor.exit_codes import ExitCode
from supervisor.grace_periods import EXIT_STATUS_SECONDS
from supervisor.observer import NurseryDied, NurseryLoaded
from supervisor.pool.state.inbox_events import (
    NurseryDisconnected,
    NurseryExited,
    NurseryMessage,
    Tick,
)
from supervisor.pool.state.worker_registry import WorkerState
from tests.support.recording_process_control import Rig


def test_a_nursery_that_loads_is_reported() -> None:
    rig = Rig(1)
    rig.load()
    (loaded,) = rig.saw(NurseryLoaded)
    assert (loaded.generation, loaded.pid) == (1, 1001)


def test_a_first_import_that_fails_ends_the_boot_with_its_reason() -> None:
    rig = Rig(1)
    rig.feed(Tick())
    rig.feed(NurseryMessage(1, LoadFailed(1, "no module named shop", "Traceback ...")))
    assert rig.pool_state.drain is None
    rig.nursery_exit(1, 256)
    assert rig.pool_state.drain is not None
    assert rig.pool.outcome is ExitCode.BOOT_FAILED
    assert rig.pool_state.drain.reason == "no module named shop"


def test_a_nursery_that_dies_while_it_imports_ends_the_boot() -> None:
    rig = Rig(1)
    rig.feed(Tick())
    rig.nursery_exit(1, 11)
    assert rig.pool.outcome is ExitCode.BOOT_FAILED
    assert rig.pool_state.drain is not None
    assert rig.pool_state.drain.reason == (
        "the nursery ended: killed by SIGSEGV while it imported the task modules"
    )


def test_a_first_import_that_is_killed_from_outside_is_tried_again_and_the_third_time_ends_the_boot(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(1)
    rig.feed(Tick())
    rig.feed(NurseryDisconnected(1, ConnectionResetError()))
    rig.nursery_exit(1, 9)
    assert rig.pool_state.drain is None
    assert rig.process_control.nurseries == [(1, True), (2, True)]
    assert [each.levelname for each in caplog.records] == ["ERROR"]
    assert "while it imported the task modules; it is replaced at once" in caplog.text
    rig.nursery_exit(2, 9)
    rig.pass_seconds(60.0)
    assert rig.pool_state.drain is None
    rig.nursery_exit(3, 9)
    assert rig.pool.outcome is ExitCode.BOOT_FAILED
    assert len(rig.process_control.nurseries) == 3


def test_a_system_without_room_for_the_first_nursery_ends_the_boot() -> None:
    rig = Rig(1)
    rig.process_control.no_room = OSError("cannot allocate memory")
    rig.feed(Tick())
    assert rig.pool.outcome is ExitCode.BOOT_FAILED


def test_code_that_is_unsafe_to_fork_is_left_to_the_workers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(1)
    rig.feed(Tick())
    rig.feed(NurseryMessage(1, Unsafe(1, ["a connected socket to 10.0.0.1:5432"])))
    rig.nursery_exit(1, 256)
    assert rig.process_control.nurseries == [(1, True), (2, False)]
    assert "a connected socket to 10.0.0.1:5432" in caplog.text
    assert rig.pool_state.drain is None


def test_the_workers_of_a_dead_nursery_go_on_and_it_is_replaced() -> None:
    rig = Rig(2).boot()
    workers = [rig.first, rig.second]
    rig.nursery_exit(1, 9)
    assert rig.process_control.nurseries == [(1, True), (2, True)]
    assert all(worker.state is WorkerState.READY for worker in workers)
    (died,) = rig.saw(NurseryDied)
    assert died.reason == "the nursery ended: killed by SIGKILL"
    assert rig.pool_state.totals.restarts["nursery"] == 1


def test_a_replacement_that_does_not_import_is_tried_again_later() -> None:
    rig = Rig(1).boot()
    rig.nursery_exit(1, 9)
    rig.feed(NurseryMessage(2, LoadFailed(2, "syntax error in shop.py")))
    rig.nursery_exit(2, 256)
    assert rig.pool_state.drain is None
    rig.pass_seconds(0.5, lambda: rig.beat(rig.first))
    assert [generation for generation, _ in rig.process_control.nurseries] == [1, 2, 3]
    assert rig.pool_state.last_error == "syntax error in shop.py"


def test_a_replacement_that_cannot_be_started_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(1).boot()
    rig.process_control.no_room = OSError("too many processes")
    rig.nursery_exit(1, 9)
    assert "cannot start the nursery: too many processes" in caplog.text
    rig.process_control.no_room = None
    rig.pass_seconds(1.0, lambda: rig.beat(rig.first))
    assert rig.process_control.nurseries[-1] == (2, True)


def test_what_a_dead_nursery_had_not_forked_is_asked_of_the_next_and_no_crash() -> None:
    rig = Rig(1)
    rig.load()
    unborn = rig.first
    rig.nursery_exit(1, 9)
    assert rig.process_control.released == [unborn.number]
    assert rig.pool_state.totals.sums()["crashes"] == 0
    rig.load()
    assert rig.first.generation == 2
    assert len(rig.process_control.spawned) == 2


def test_a_worker_that_spoke_before_its_nursery_died_is_followed_by_its_pid() -> None:
    rig = Rig(1)
    rig.load()
    rig.say(rig.first, Hello(PROTOCOL, 77))
    rig.nursery_exit(1, 9)
    assert rig.process_control.orphans == [rig.first.number]
    assert rig.first.alive


def test_a_fork_that_fails_is_tried_again_and_counts() -> None:
    rig = Rig(1)
    rig.load()
    rig.feed(NurseryMessage(1, SpawnFailed(1, "resource temporarily unavailable")))
    assert rig.pool_state.totals.restarts["spawn"] == 1
    assert len(rig.process_control.spawned) == 2
    rig.feed(NurseryMessage(1, SpawnFailed(9, "there is no such slot")))


def test_a_nursery_whose_channel_is_lost_is_killed() -> None:
    rig = Rig(1).boot()
    rig.feed(NurseryDisconnected(1, ValueError("not our protocol")))
    assert rig.process_control.killed_nurseries == [1]
    rig.feed(NurseryDisconnected(9, None))
    assert rig.process_control.killed_nurseries == [1]


def test_a_nursery_that_is_ending_may_close_its_channel() -> None:
    rig = Rig(1)
    rig.feed(Tick())
    rig.feed(NurseryMessage(1, LoadFailed(1, "no module named shop")))
    rig.feed(NurseryDisconnected(1, None))
    assert rig.process_control.killed_nurseries == []


def test_a_nursery_of_another_protocol_cannot_be_used() -> None:
    rig = Rig(1)
    rig.feed(Tick())
    rig.feed(NurseryMessage(1, Hello(99, 1001)))
    rig.nursery_exit(1, 256)
    assert rig.pool.outcome is ExitCode.BOOT_FAILED
    assert "restart the supervisor" in (rig.pool_state.last_error or "")


def test_a_nursery_that_forks_nothing_within_the_boot_timeout_is_killed() -> None:
    rig = Rig(2).boot()
    rig.exit(rig.first)
    rig.pass_seconds(30.5, lambda: rig.beat(rig.second))
    assert rig.process_control.killed_nurseries == [1]


def test_unexpected_messages_of_a_nursery_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(1).boot()
    rig.feed(NurseryMessage(1, Spawned(1, 4242)))
    assert "forked pid 4242 unasked" in caplog.text
    rig.feed(NurseryMessage(9, Hello(PROTOCOL, 1)))
    assert "generation 9 said" in caplog.text
    rig.feed(NurseryExited(9, 0))


def test_the_cause_of_a_death_is_logged_when_the_nursery_has_reaped_the_worker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(2).boot()
    dead = rig.first
    rig.exit(dead, None)
    assert "worker 1 (pid 5001) died" not in caplog.text
    rig.feed(NurseryMessage(1, Exited(5001, 11, 1.0, 0.5, 20_000_000)))
    assert "worker 1 (pid 5001) died: killed by SIGSEGV; replaced at once" in caplog.text


def test_a_death_without_a_status_is_logged_without_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(2).boot()
    rig.exit(rig.first, None)
    rig.pass_seconds(EXIT_STATUS_SECONDS - 0.25)
    assert "worker 1 (pid 5001) died" not in caplog.text
    rig.pass_seconds(0.25)
    assert "worker 1 (pid 5001) died: its process ended" in caplog.text
