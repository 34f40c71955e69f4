"""What did not happen in time: boots, silences, a pool without workers."""

import pytest

from ipc.messages import Adopt, Fault, Waiting
from supervisor.children import Cause
from supervisor.exit_codes import ExitCode
from supervisor.inbox import Tick
from supervisor.observer import PoolReady
from tests.support.recording_edge import Rig


def test_a_pool_with_no_ready_worker_within_the_boot_timeout_ends_with_3() -> None:
    rig = Rig(1)
    rig.load()
    rig.fork(rig.first)
    rig.say(rig.first, Waiting("connection refused"))
    rig.pass_seconds(30.5)
    assert rig.ground.drain is not None
    assert rig.ground.drain.code is ExitCode.BOOT_FAILED
    assert rig.ground.drain.reason == (
        "no worker was ready within 30.0 s: the server cannot be reached: connection refused"
    )
    assert rig.edge.killed == [rig.first.number]


def test_an_import_may_take_as_long_as_it_takes() -> None:
    rig = Rig(1)
    rig.feed(Tick())
    rig.pass_seconds(300.0)
    assert rig.ground.drain is None


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
    assert rig.edge.killed == [late.number]
    assert late.killed_as is Cause.BOOT
    rig.exit(late)
    assert rig.ground.totals.sums()["crashes"] == 2


def test_a_worker_that_waits_for_a_lost_server_is_not_hurried() -> None:
    rig = Rig(2).boot()
    rig.exit(rig.first)
    rig.fork(rig.first)
    rig.say(rig.first, Waiting("connection refused"))
    rig.pass_seconds(120.0, lambda: rig.beat(rig.second))
    assert rig.edge.killed == []


def test_crashes_before_the_first_readiness_are_a_failed_boot() -> None:
    rig = Rig(1, max_restarts=1)
    rig.load()
    for _ in range(2):
        rig.fork(rig.first)
        rig.say(rig.first, Fault("bad dependencies", ""))
        rig.exit(rig.first, 256)
    assert rig.ground.drain is not None
    assert rig.ground.drain.code is ExitCode.BOOT_FAILED
    assert (rig.ground.drain.reason or "").endswith("bad dependencies")


def test_a_blocked_loop_is_dumped_then_killed_and_only_its_task_is_blamed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(2).boot()
    stuck, other = rig.first, rig.second

    def meanwhile() -> None:
        rig.beat(other)
        rig.keeper(stuck, "order-1")

    rig.pass_seconds(5.5, meanwhile)
    assert rig.edge.dumped == [stuck.number]
    assert "the event loop is blocked, in task 'order-1'" in caplog.text
    rig.pass_seconds(55.0, meanwhile)
    assert rig.edge.dumped == [stuck.number, stuck.number]
    assert rig.edge.killed == []
    rig.pass_seconds(1.0, meanwhile)
    assert rig.edge.killed == [stuck.number]
    rig.exit(stuck)
    (adopt,) = rig.edge.told_to(other.number, Adopt)
    assert adopt.blame == "key:order-1"
    assert rig.ground.totals.sums()["stalls"] == 1


def test_a_frozen_process_blames_its_only_task(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(2).boot()
    frozen = rig.first
    rig.beat(frozen, "order-1")
    rig.pass_seconds(62.0, lambda: rig.beat(rig.second))
    assert "the whole process is silent" in caplog.text
    assert frozen.blame == "key:order-1"


def test_a_frozen_process_with_many_tasks_blames_nobody() -> None:
    rig = Rig(2).boot()
    frozen = rig.first
    rig.beat(frozen, "order-1", "order-2")
    rig.pass_seconds(62.0, lambda: rig.beat(rig.second))
    assert rig.edge.killed == [frozen.number]
    assert frozen.blame == "nobody"


def test_a_loop_that_speaks_again_is_not_killed() -> None:
    rig = Rig(2).boot()
    rig.pass_seconds(60.25, lambda: rig.beat(rig.second))
    rig.beat(rig.first)
    rig.pass_seconds(30.0, lambda: rig.beat(rig.second))
    assert rig.edge.killed == []


def test_a_starved_worker_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(2).boot()
    rig.edge.waited = 0.0

    def meanwhile() -> None:
        rig.beat(rig.second)
        rig.edge.waited = (rig.edge.waited or 0.0) + 0.2

    rig.pass_seconds(70.0, meanwhile)
    assert rig.edge.killed == []
    assert "starved of CPU" in caplog.text


def test_a_machine_that_was_suspended_kills_nobody() -> None:
    rig = Rig(2).boot()
    rig.feed(Tick(regular=True))
    rig.now += 3600.0
    rig.feed(Tick(regular=True))
    assert rig.edge.killed == []


def test_a_pool_without_workers_while_the_server_answers_gives_up() -> None:
    rig = Rig(1, max_restarts=1000).boot()
    rig.feed(Tick(regular=True))
    rig.exit(rig.first)
    rig.pass_seconds(61.0)
    assert rig.ground.drain is not None
    assert rig.ground.drain.code is ExitCode.GAVE_UP
    assert "no worker was ready for 1m00s" in (rig.ground.drain.reason or "")


def test_a_pool_whose_server_is_away_waits_for_ever() -> None:
    rig = Rig(1).boot()
    rig.say(rig.first, Waiting("connection refused"))
    rig.pass_seconds(600.0, lambda: rig.beat(rig.first))
    assert rig.ground.drain is None
    assert rig.edge.killed == []


def test_beats_of_a_worker_that_is_gone_are_ignored() -> None:
    rig = Rig(1).boot()
    dead = rig.first
    rig.exit(dead)
    rig.keeper(dead, "order-1")
    assert rig.edge.killed == []
