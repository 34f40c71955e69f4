"""A pool whose size follows its work: from messages of workers to slots, log and reports."""

import signal
from datetime import timedelta
from typing import Any

import pytest

from ipc.messages import Backlog, Drain, Ready, Waiting
from supervisor.monitoring.metrics import registry_of, render
from supervisor.monitoring.status import report
from supervisor.observer import Scaled
from supervisor.pool.state.inbox_events import CommandReceived, NurseryExited, SignalReceived
from supervisor.pool.state.pool_commands import (
    Command,
    Done,
    Outcome,
    Refused,
    Reload,
    Restart,
    Scale,
    ScaleBetween,
)
from supervisor.pool.state.pool_commands import Drain as DrainPool
from supervisor.pool.state.pool_state import BACKLOG_LASTS_SECONDS
from supervisor.process_range import ProcessRange
from supervisor.signals import ReceivedSignal
from tests.support.exposition import families
from tests.support.recording_process_control import Rig

#: More than the pause between two steps up, and than the age of a backlog when it is told.
STEP_SECONDS = 4.0
#: The reason of the first step up.
WAITED = "the oldest ready task has waited 30.0 s, the workers are 100% busy"


def scaling_rig(least: int = 2, most: int = 16, **options: Any) -> Rig:
    """A pool that is ready, of workers with two places."""
    return Rig(ProcessRange(least, most), concurrency=2, **options).boot()


def full_beats(rig: Rig) -> None:
    for worker in rig.pool_state.registry.consuming():
        rig.beat(worker, "a", "b")


def idle_beats(rig: Rig) -> None:
    rig.all_beat()
    rig.say(rig.pool_state.registry.consuming()[0], Backlog())


def busy(rig: Rig, seconds: float = STEP_SECONDS, backlog: Backlog | None = None) -> None:
    """Every place is taken, and tasks wait; what is asked for gets ready at once."""
    waiting = Backlog(queued=100, oldest_ready_seconds=30.0) if backlog is None else backlog

    def beats() -> None:
        full_beats(rig)
        rig.say(rig.pool_state.registry.consuming()[0], waiting)

    rig.pass_seconds(seconds, beats)
    get_all_ready(rig)


def get_all_ready(rig: Rig) -> None:
    for worker in list(rig.process_control.spawned):
        if worker.alive and worker.spawned_at is None:
            rig.fork(worker)
            rig.ready(worker)


def idle(rig: Rig, seconds: float) -> None:
    rig.pass_seconds(seconds, lambda: idle_beats(rig))


def target(rig: Rig) -> int:
    return rig.pool_state.registry.target


def held_because(rig: Rig) -> str | None:
    assert rig.pool_state.scaling is not None
    return rig.pool_state.scaling.held_because


def ordered(rig: Rig, command: Command) -> Outcome:
    outcomes: list[Outcome] = []
    rig.feed(CommandReceived(command, outcomes.append))
    (outcome,) = outcomes
    return outcome


def test_it_starts_with_the_fewest() -> None:
    rig = scaling_rig(3, 8)
    assert target(rig) == 3
    assert len(rig.process_control.spawned) == 3


def test_a_burst_doubles_it_until_it_has_the_most_and_an_idle_time_shrinks_it_again() -> None:
    rig = scaling_rig(2, 10)
    sizes = [target(rig)]
    for _ in range(4):
        busy(rig)
        sizes.append(target(rig))
    assert sizes == [2, 4, 8, 10, 10]
    highest = rig.worker(10)
    idle(rig, 61.0)
    assert target(rig) == 9
    assert rig.process_control.sent_to(highest.number, Drain) == [Drain(None)]
    idle(rig, 600.0)
    assert target(rig) == 2


def test_each_change_is_one_line_of_the_log_and_an_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "supervisor")
    rig = scaling_rig(2, 3)
    busy(rig)
    idle(rig, 70.0)
    lines = [each for each in caplog.messages if each.startswith("scaled")]
    assert lines == [
        f"scaled up from 2 to 3 processes: {WAITED}",
        "scaled down from 3 to 2 processes: the workers were at most 0% busy for 1m00s",
    ]
    assert [(each.target, each.reason) for each in rig.saw(Scaled)] == [
        (3, WAITED),
        (2, "the workers were at most 0% busy for 1m00s"),
    ]


def test_the_options_say_what_is_a_wait_and_what_is_idle() -> None:
    rig = scaling_rig(2, 16, scale_up_wait=timedelta(minutes=1), scale_down_idle=timedelta(hours=1))
    busy(rig, 30.0)
    assert target(rig) == 2
    busy(rig, backlog=Backlog(queued=9, oldest_ready_seconds=61.0))
    assert target(rig) == 3
    idle(rig, 3599.0)
    assert target(rig) == 3
    idle(rig, 5.0)
    assert target(rig) == 2


def test_a_pool_of_a_fixed_size_follows_nothing() -> None:
    rig = Rig(2, concurrency=2).boot()
    busy(rig, 30.0)
    idle(rig, 200.0)
    assert target(rig) == 2
    assert rig.saw(Scaled) == []


# What holds it.


def test_a_paused_docket_is_no_reason_to_grow_and_none_against_shrinking() -> None:
    rig = scaling_rig()
    paused = Backlog(queued=100, oldest_ready_seconds=300.0, pauses=1, docket_paused=True)
    busy(rig, 30.0, paused)
    assert target(rig) == 2
    busy(rig)
    assert target(rig) == 4

    def beats() -> None:
        rig.all_beat()
        rig.say(rig.first, paused)

    rig.pass_seconds(61.0, beats)
    assert target(rig) == 3


def test_a_task_that_waited_at_one_moment_while_places_were_free_is_no_reason_to_grow() -> None:
    rig = scaling_rig()
    for second in range(90):
        rig.all_beat()
        moment = Backlog(queued=5, oldest_ready_seconds=60.0) if second % 2 else Backlog()
        rig.say(rig.first, moment)
        rig.pass_seconds(1.0)
    assert target(rig) == 2


def test_it_stays_as_it_is_while_the_server_is_away_and_goes_on_after_that() -> None:
    rig = scaling_rig()
    busy(rig, 1.0, Backlog())
    rig.say(rig.first, Waiting("connection refused"))
    rig.say(rig.second, Backlog(queued=9, oldest_ready_seconds=60.0))
    rig.pass_seconds(8.0, lambda: full_beats(rig))
    assert target(rig) == 2
    assert held_because(rig) == "the server is away"
    rig.say(rig.first, Ready(rig.first.name, rig.first.name, 1_000_000))
    busy(rig)
    assert target(rig) == 4


def test_a_backlog_that_nobody_told_lately_moves_nothing() -> None:
    rig = scaling_rig()
    busy(rig, 1.0, Backlog(queued=9, oldest_ready_seconds=0.5))
    rig.pass_seconds(BACKLOG_LASTS_SECONDS + 100.0, rig.all_beat)
    assert target(rig) == 2
    assert held_because(rig) == "the backlog is not known"


def test_it_grows_no_further_before_the_workers_of_the_last_step_are_ready() -> None:
    rig = scaling_rig(2, 100)

    def beats() -> None:
        full_beats(rig)
        rig.say(rig.first, Backlog(queued=100, oldest_ready_seconds=30.0))

    rig.pass_seconds(20.0, beats)
    assert target(rig) == 4
    assert held_because(rig) == "workers start"


def test_workers_that_crash_again_and_again_hold_it_until_one_has_proved_healthy() -> None:
    rig = scaling_rig(2, 8, max_restarts=100)
    for _ in range(2):
        rig.exit(rig.first)
        rig.pass_seconds(0.5)
        get_all_ready(rig)
    busy(rig, 50.0)
    assert target(rig) == 2
    assert held_because(rig) == "workers crash again and again"
    busy(rig, 15.0)
    assert target(rig) > 2


def test_one_crash_is_no_crash_loop() -> None:
    rig = scaling_rig()
    rig.exit(rig.first)
    rig.pass_seconds(0.5)
    get_all_ready(rig)
    busy(rig)
    assert target(rig) == 4


def test_a_reload_holds_it_until_it_has_ended() -> None:
    rig = scaling_rig()
    busy(rig, 1.0, Backlog())
    rig.feed(CommandReceived(Reload()))
    busy(rig, 10.0)
    assert target(rig) == 2
    assert held_because(rig) == "a reload is under way"
    rig.feed(NurseryExited(2, 1 << 8))
    busy(rig)
    assert target(rig) == 4


def test_a_worker_that_is_being_replaced_holds_nothing() -> None:
    rig = scaling_rig()
    rig.feed(CommandReceived(Restart(1)))
    successor = rig.process_control.spawned[-1]
    assert successor.slot == 1
    busy(rig)
    assert target(rig) == 4


def test_a_pool_that_drains_keeps_its_size() -> None:
    rig = scaling_rig()
    busy(rig, 1.0, Backlog())
    rig.feed(CommandReceived(DrainPool()))
    rig.say(rig.first, Backlog(queued=100, oldest_ready_seconds=30.0))
    rig.pass_seconds(8.0, lambda: [rig.beat(each, "a", "b") for each in (rig.first, rig.second)])
    assert rig.saw(Scaled) == []
    assert ordered(rig, ScaleBetween(ProcessRange(1, 4))) == Refused("the pool drains")


# Commands.


@pytest.mark.parametrize("processes", [1, 3, 20])
def test_a_number_fixes_the_size_within_the_bounds_or_not(processes: int) -> None:
    rig = scaling_rig(2, 16)
    outcome = ordered(rig, Scale(processes))
    assert isinstance(outcome, Done)
    assert outcome.text.endswith("; it stays so until it is scaled to 2:16 again")
    get_all_ready(rig)
    busy(rig, 10.0)
    idle(rig, 200.0)
    assert target(rig) == processes
    assert report(rig.pool_state, rig.now)["supervisor"]["scaling"] is None


def test_the_size_that_it_has_fixes_it_too() -> None:
    rig = scaling_rig(2, 16)
    assert ordered(rig, Scale(2)) == Done(
        "the pool has 2 processes already; it stays so until it is scaled to 2:16 again"
    )
    busy(rig, 10.0)
    assert target(rig) == 2


def test_a_signal_fixes_the_size_too() -> None:
    rig = scaling_rig(2, 16)
    rig.feed(SignalReceived(ReceivedSignal(signal.SIGTTIN, rig.now)))
    get_all_ready(rig)
    busy(rig, 10.0)
    assert target(rig) == 3


def test_bounds_have_any_pool_follow_its_work_and_bring_it_within_them_at_once() -> None:
    rig = Rig(8, concurrency=2).boot()
    assert ordered(rig, ScaleBetween(ProcessRange(2, 4))) == Done(
        "scaled from 8 to 4 processes; from now on the size follows the work between 2 and 4"
    )
    assert target(rig) == 4
    assert ordered(rig, ScaleBetween(ProcessRange(2, 6))) == Done(
        "4 processes; from now on the size follows the work between 2 and 6"
    )
    busy(rig)
    assert target(rig) == 6


@pytest.mark.parametrize("bounds", [(0, 2), (4, 2), (1, 1025)])
def test_bounds_that_no_pool_has_are_refused_and_change_nothing(bounds: tuple[int, int]) -> None:
    rig = scaling_rig(2, 4)
    outcome = ordered(rig, ScaleBetween(ProcessRange(*bounds)))
    assert isinstance(outcome, Refused)
    assert outcome.text.startswith("the bounds of a pool are 1 to 1024 processes, the smaller ")
    busy(rig)
    assert target(rig) == 4


# Reports.


def test_the_status_tells_the_bounds_what_holds_it_and_the_last_change() -> None:
    rig = scaling_rig(2, 16)
    rig.pass_seconds(1.0, rig.all_beat)
    assert report(rig.pool_state, rig.now)["supervisor"]["scaling"] == {
        "least": 2,
        "most": 16,
        "held_because": "the backlog is not known",
        "last_change": None,
    }
    busy(rig)
    told = report(rig.pool_state, rig.now)["supervisor"]["scaling"]
    changed_at = rig.saw(Scaled)[-1].at
    assert told["last_change"] == {
        "before": 2,
        "processes": 4,
        "reason": WAITED,
        "seconds_ago": rig.now - changed_at,
    }


def metric(rig: Rig, name: str) -> dict[str, float]:
    family = families(render(registry_of(rig.pool_state, lambda: rig.now)).decode())[name]
    return {"".join(each.labels.values()): each.value for each in family.samples}


def test_the_metrics_tell_the_bounds_and_count_the_changes() -> None:
    rig = scaling_rig(2, 4)
    assert metric(rig, "docket_supervisor_scalings") == {"up": 0, "down": 0}
    busy(rig)
    idle(rig, 61.0)
    assert metric(rig, "docket_supervisor_scalings") == {"up": 1, "down": 1}
    assert metric(rig, "docket_supervisor_least_workers") == {"": 2}
    assert metric(rig, "docket_supervisor_most_workers") == {"": 4}
    ordered(rig, Scale(5))
    assert metric(rig, "docket_supervisor_least_workers") == {"": 5}
    assert metric(rig, "docket_supervisor_most_workers") == {"": 5}
