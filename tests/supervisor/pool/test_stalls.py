"""Silent loops: the warnings, the kills and the blame."""

from datetime import timedelta
from pathlib import Path

import pytest

from ipc.messages import Adopt
from supervisor.pool.state import pool_commands
from supervisor.pool.state.inbox_events import CommandReceived
from supervisor.pool.state.worker_registry import Cause, WorkerProcess
from tests.support.recording_process_control import Rig

DOCKET = Path(__file__).parents[3] / "docket"
STACK = f"""Thread 0x0002 (most recent call first):
  File "/usr/lib/threading.py", line 1 in wait

Current thread 0x0001 (most recent call first):
  File "/usr/lib/re/__init__.py", line 166 in match
  File "/home/shop/jobs.py", line 12 in crunch
  File "{DOCKET}/services/executor.py", line 207 in _execute_call
  File "{DOCKET}/services/executor.py", line 111 in run
"""


def test_a_blocked_loop_is_dumped_then_killed_and_only_its_task_is_blamed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(2).boot()
    stuck, other = rig.first, rig.second

    def meanwhile() -> None:
        rig.beat(other)
        rig.keeper(stuck, "order-1")

    rig.pass_seconds(5.5, meanwhile)
    assert rig.process_control.dumped == [stuck.number]
    assert "the event loop is blocked, in task 'order-1'" in caplog.text
    rig.pass_seconds(55.0, meanwhile)
    assert rig.process_control.dumped == [stuck.number, stuck.number]
    assert rig.process_control.killed == []
    rig.pass_seconds(1.0, meanwhile)
    assert rig.process_control.killed == [stuck.number]
    rig.exit(stuck)
    (adopt,) = rig.process_control.sent_to(other.number, Adopt)
    assert adopt.blame == "key:order-1"
    assert rig.pool_state.totals.sums()["stalls"] == 1


def freeze(rig: Rig, worker: WorkerProcess, seconds: float, answer: str | None = None) -> None:
    """The worker sends nothing for so long, but a stack each time that one is asked for."""
    asked = len(rig.process_control.dumped)

    def meanwhile() -> None:
        nonlocal asked
        for other in rig.pool_state.registry.alive():
            if other is not worker:
                rig.beat(other)
        if answer is not None and len(rig.process_control.dumped) > asked:
            asked = len(rig.process_control.dumped)
            rig.dump(worker, answer)

    rig.pass_seconds(seconds, meanwhile)


def test_a_frozen_process_is_the_fault_of_no_task(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(2).boot()
    frozen = rig.first
    rig.beat(frozen, "order-1")
    freeze(rig, frozen, 62.5)
    assert "has been silent for 7.0 s: the process is frozen" in caplog.text
    assert rig.process_control.killed == [frozen.number]
    assert (frozen.blame, frozen.kill_cause) == ("nobody", Cause.STALL)
    assert (frozen.kill_reason or "").endswith("the process is frozen")


def test_a_stack_without_beats_is_c_code_that_holds_the_gil_and_blames_by_its_function(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(2).boot()
    held = rig.first
    freeze(rig, held, 6.0, STACK)
    assert "has been silent for 5.0 s: C code holds the GIL, in crunch()" in caplog.text
    freeze(rig, held, 55.5, STACK)
    assert rig.process_control.killed == [held.number]
    assert held.blame == "functions:match crunch"


def test_the_task_that_holds_the_gil_is_known_if_the_keeper_could_still_name_it() -> None:
    rig = Rig(2).boot()
    held = rig.first

    def meanwhile() -> None:
        rig.beat(rig.second)
        rig.keeper(held, "order-1")

    rig.pass_seconds(3.0, meanwhile)
    freeze(rig, held, 60.0, STACK)
    assert held.blame == "key:order-1"


def test_a_callback_that_blocks_the_loop_counts_for_the_only_task_there_was() -> None:
    rig = Rig(2).boot()
    stuck = rig.first

    def meanwhile() -> None:
        rig.beat(rig.second)
        rig.keeper(stuck, None)

    rig.pass_seconds(62.0, meanwhile)
    assert (stuck.kill_cause, stuck.blame) == (Cause.STALL, "functions:")


def test_an_old_stack_is_no_evidence_against_a_process_that_froze_later() -> None:
    rig = Rig(2).boot()
    frozen = rig.first
    freeze(rig, frozen, 20.0, STACK)
    freeze(rig, frozen, 43.0)
    assert frozen.blame == "nobody"


def test_a_stack_that_a_user_asked_for_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(1).boot()
    rig.dump(rig.first, STACK)
    rig.pass_seconds(1.0, lambda: rig.beat(rig.first))
    assert "worker 1, where it is:" in caplog.text
    assert "silent" not in caplog.text
    assert rig.process_control.killed == []


def test_a_dump_that_comes_after_the_workers_end_is_logged_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(1).boot()
    dead = rig.first
    rig.exit(dead)
    rig.dump(dead, "Current thread 0x1\n")
    assert "worker 1, where it is:\nCurrent thread 0x1" in caplog.text


def test_tasks_that_never_end_and_starve_each_other_are_not_spared_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(2).boot()
    stuck = rig.first
    rig.process_control.waited = rig.process_control.used = 0.0

    def meanwhile() -> None:
        rig.beat(rig.second)
        rig.keeper(stuck, "order-1")
        # Three at each CPU: of a quarter of a second it gets a third.
        rig.process_control.used = (rig.process_control.used or 0.0) + 0.25 / 3
        rig.process_control.waited = (rig.process_control.waited or 0.0) + 0.5 / 3

    rig.pass_seconds(175.0, meanwhile)
    assert rig.process_control.killed == []
    assert caplog.text.count("is starved of CPU") == 2
    rig.pass_seconds(70.0, meanwhile)
    assert rig.process_control.killed == [stuck.number]
    assert stuck.blame == "key:order-1"


def test_a_starved_worker_has_a_warning_of_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(2).boot()
    rig.process_control.waited = 0.0

    def meanwhile() -> None:
        rig.beat(rig.second)
        rig.process_control.waited = (rig.process_control.waited or 0.0) + 0.24

    rig.pass_seconds(6.0, meanwhile)
    assert "has been silent for 5.0 s: it waits for a CPU" in caplog.text


def test_a_stall_in_a_drain_is_counted_and_blamed_as_any_other() -> None:
    rig = Rig(1, drain_timeout=timedelta(minutes=10)).boot()
    stuck = rig.first
    rig.feed(CommandReceived(pool_commands.Drain()))
    rig.pass_seconds(62.0, lambda: rig.keeper(stuck, "order-1"))
    assert rig.process_control.killed == [stuck.number]
    rig.exit(stuck)
    assert rig.pool_state.totals.sums()["stalls"] == 1
    assert rig.pool_state.totals.sums()["restarts"] == 0


def test_a_loop_that_beats_again_is_not_killed() -> None:
    rig = Rig(2).boot()
    rig.pass_seconds(60.25, lambda: rig.beat(rig.second))
    rig.beat(rig.first)
    rig.pass_seconds(30.0, lambda: rig.beat(rig.second))
    assert rig.process_control.killed == []


def test_a_starved_worker_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(2).boot()
    rig.process_control.waited = 0.0

    def meanwhile() -> None:
        rig.beat(rig.second)
        rig.process_control.waited = (rig.process_control.waited or 0.0) + 0.2

    rig.pass_seconds(70.0, meanwhile)
    assert rig.process_control.killed == []
    assert "starved of CPU" in caplog.text


def test_the_stack_of_a_process_that_was_stopped_is_no_warning_once_it_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(2).boot()
    rig.pass_seconds(9.0, lambda: rig.beat(rig.second))  # the first was stopped
    assert "the process is frozen" in caplog.text
    rig.dump(rig.first, STACK)  # the signal was pending
    rig.beat(rig.first)
    assert "where it is" not in caplog.text


def test_a_stack_that_a_heartbeat_overtook_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(2).boot()
    rig.pass_seconds(5.5, lambda: rig.beat(rig.second))
    assert rig.process_control.dumped == [1]
    rig.beat(rig.first)
    rig.dump(rig.first, STACK)
    assert "where it is" not in caplog.text
    rig.dump(rig.first, STACK)  # this one was asked for by a user
    assert "worker 1, where it is" in caplog.text


@pytest.mark.parametrize("trickles", [False, True])
def test_a_starved_worker_is_warned_of_ever_more_rarely(
    caplog: pytest.LogCaptureFixture, *, trickles: bool
) -> None:
    """`trickles`: a heartbeat comes through at times, which begins a silence anew."""
    rig = Rig(2, stall_timeout=timedelta(seconds=20)).boot()
    rig.process_control.waited = rig.process_control.used = 0.0

    def meanwhile() -> None:
        rig.beat(rig.second)
        rig.process_control.waited = (rig.process_control.waited or 0.0) + 0.25
        if trickles and rig.now % 8 < 0.25:
            rig.beat(rig.first)

    rig.pass_seconds(320.0, meanwhile)
    assert rig.process_control.killed == []
    warnings = [each for each in caplog.messages if "CPU" in each]
    assert 3 <= len(warnings) <= 7  # after 5, 15, 35, 75, 155, 315 s at most
