"""Workers that are alive and silent: another one beats and renews for them."""

from ipc.messages import Drain, Vouch, Waiting
from supervisor.pool.state.worker_registry import WorkerProcess
from tests.support.recording_process_control import Rig


def silent(rig: Rig, worker: WorkerProcess, seconds: float) -> None:
    """Let the time pass, in which every other worker beats."""

    def meanwhile() -> None:
        for other in rig.pool_state.registry.alive():
            if other is not worker and not other.adopts_only and other.ready_at is not None:
                rig.beat(other)

    rig.pass_seconds(seconds, meanwhile)


def vouched(rig: Rig, by: WorkerProcess) -> list[str]:
    return [message.consumer for message in rig.process_control.sent_to(by.number, Vouch)]


def test_another_worker_vouches_once_a_second_from_the_second_second_of_silence() -> None:
    rig = Rig(2).boot()
    silent(rig, rig.first, 1.75)
    assert vouched(rig, rig.second) == []
    silent(rig, rig.first, 5.25)
    assert vouched(rig, rig.second) == rig.first.consumers * 5


def test_it_ends_with_the_silence_and_with_the_worker() -> None:
    rig = Rig(2).boot()
    silent(rig, rig.first, 3.0)
    before = len(vouched(rig, rig.second))
    rig.beat(rig.first)
    silent(rig, rig.first, 1.75)
    assert len(vouched(rig, rig.second)) == before
    silent(rig, rig.first, 1.0)
    assert len(vouched(rig, rig.second)) > before
    rig.exit(rig.first)
    after = len(vouched(rig, rig.second))
    rig.pass_seconds(5.0, lambda: rig.beat(rig.second))
    assert len(vouched(rig, rig.second)) == after


def test_one_whose_keeper_beats_writes_its_own_heartbeats() -> None:
    rig = Rig(2).boot()

    def meanwhile() -> None:
        rig.keeper(rig.first, "order-1")
        rig.beat(rig.second)

    rig.pass_seconds(20.0, meanwhile)
    assert vouched(rig, rig.second) == []


def test_a_stopped_process_is_not_vouched_for() -> None:
    rig = Rig(2).boot()
    assert rig.first.pid is not None
    rig.process_control.stopped.add(rig.first.pid)
    silent(rig, rig.first, 20.0)
    assert vouched(rig, rig.second) == []


def test_the_idlest_worker_whose_loop_turns_is_asked() -> None:
    rig = Rig(3).boot()
    busy, idle = rig.second, rig.worker(3)

    def meanwhile() -> None:
        rig.beat(busy, "a", "b")
        rig.beat(idle)

    rig.pass_seconds(4.0, meanwhile)
    assert vouched(rig, busy) == []
    assert vouched(rig, idle)


def test_where_every_worker_is_silent_a_child_that_only_adopts_is_forked_for_it_and_dismissed() -> (
    None
):
    rig = Rig(1).boot()
    rig.pass_seconds(3.0)
    (_, adopter) = rig.process_control.spawned
    assert adopter.adopts_only
    rig.fork(adopter)
    rig.ready(adopter)
    rig.pass_seconds(20.0)
    assert vouched(rig, adopter)
    assert set(vouched(rig, adopter)) == set(rig.first.consumers)
    assert len(rig.process_control.spawned) == 2

    rig.pass_seconds(29.0, lambda: rig.beat(rig.first))
    assert rig.process_control.sent_to(adopter.number, Drain) == []
    rig.pass_seconds(2.0, lambda: rig.beat(rig.first))
    assert rig.process_control.sent_to(adopter.number, Drain) == [Drain(0.0)]
    rig.drain_and_exit(adopter)
    assert rig.process_control.killed == []
    assert rig.pool_state.totals.sums()["crashes"] == 0


def test_a_child_that_adopts_is_never_taken_for_silent() -> None:
    rig = Rig(1).boot()
    rig.pass_seconds(3.0)
    (_, adopter) = rig.process_control.spawned
    rig.fork(adopter)
    rig.ready(adopter)
    # Its worker is silent for longer than the stall timeout, but never for a minute at once.
    for _ in range(4):
        rig.pass_seconds(28.0)
        rig.beat(rig.first)
    assert adopter.number not in rig.process_control.killed


def test_nobody_vouches_while_the_server_is_away_and_one_that_has_it_back_does() -> None:
    """Although the silent one, which waited for it too, cannot say that it is back."""
    rig = Rig(2).boot()
    for worker in (rig.first, rig.second):
        rig.say(worker, Waiting("connection refused"))
    silent(rig, rig.first, 10.0)
    assert vouched(rig, rig.second) == []
    assert len(rig.process_control.spawned) == 2
    rig.ready(rig.second)
    silent(rig, rig.first, 1.25)
    assert vouched(rig, rig.second)


def test_where_every_worker_fell_silent_in_an_outage_a_child_is_forked_for_it() -> None:
    rig = Rig(1).boot()
    rig.say(rig.first, Waiting("connection refused"))
    rig.pass_seconds(3.0)
    (_, adopter) = rig.process_control.spawned
    rig.fork(adopter)
    rig.ready(adopter)
    rig.pass_seconds(2.0)
    assert vouched(rig, adopter)
