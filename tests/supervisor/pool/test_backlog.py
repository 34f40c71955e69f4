"""The backlog of the docket, as the pool knows it from its steward."""

from ipc.messages import Backlog, Waiting
from supervisor.pool.state.pool_state import BACKLOG_LASTS_SECONDS
from tests.support.recording_process_control import Rig


def test_the_backlog_is_the_last_that_was_told_with_the_places_of_the_pool() -> None:
    rig = Rig(2, concurrency=4).boot()
    assert rig.pool_state.present_backlog(rig.now) is None
    rig.beat(rig.first, "a", "b")
    rig.beat(rig.second, "c")

    rig.say(rig.first, Backlog(queued=5))
    rig.say(rig.first, Backlog(queued=7, oldest_ready_seconds=1.5))

    told = Backlog(queued=7, oldest_ready_seconds=1.5, places=8, places_used=3)
    assert rig.pool_state.present_backlog(rig.now) == told


def test_a_worker_that_cannot_claim_has_no_places() -> None:
    rig = Rig(2, concurrency=4).boot()
    rig.beat(rig.first, "a", "b")
    rig.say(rig.first, Backlog(queued=7))
    rig.say(rig.first, Waiting("the server is away"))

    assert rig.pool_state.present_backlog(rig.now) == Backlog(queued=7, places=4)


def test_a_backlog_that_nobody_confirms_is_none_after_a_while() -> None:
    rig = Rig(1).boot()
    rig.say(rig.first, Backlog(queued=7))
    rig.pass_seconds(BACKLOG_LASTS_SECONDS, lambda: rig.beat(rig.first))
    assert rig.pool_state.present_backlog(rig.now) is not None

    rig.pass_seconds(1.0, lambda: rig.beat(rig.first))

    assert rig.pool_state.present_backlog(rig.now) is None
