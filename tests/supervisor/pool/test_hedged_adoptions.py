"""Adoptions that two are asked for: what both say, in either order."""

import pytest

from ipc.messages import Adopt, Adopted
from supervisor.observer import AdoptionFinished
from tests.support.recording_process_control import Rig


def test_a_replacement_that_is_ready_before_the_adopter_is_done_adopts_too() -> None:
    rig = Rig(2).boot()
    rig.exit(rig.first)
    replacement = rig.first
    rig.fork(replacement)
    rig.ready(replacement)
    asked = [rig.process_control.sent_to(each.number, Adopt) for each in (rig.second, replacement)]
    assert [[each.consumer for each in adopts] for adopts in asked] == [["host#1.1"], ["host#1.1"]]
    rig.say(replacement, Adopted("host#1.1", 7))
    rig.say(rig.second, Adopted("host#1.1", 0))
    assert [each.moved for each in rig.saw(AdoptionFinished)] == [7]


def test_tasks_moved_by_the_second_of_two_adopters_count_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    rig = Rig(2).boot()
    rig.exit(rig.first)
    rig.fork(rig.first)
    rig.ready(rig.first)
    rig.say(rig.first, Adopted("host#1.1", 0))
    rig.say(rig.second, Adopted("host#1.1", 3, ["bad"], 1))
    assert rig.pool_state.totals.sums()["poisoned"] == 1
    assert "put back 3 tasks of worker 1, " in caplog.text
    assert "1 task failed as poison, for --max-deliveries deaths of workers: bad" in caplog.text
    reported = [(each.slot, each.moved, each.poisoned) for each in rig.saw(AdoptionFinished)]
    assert reported == [(1, 0, ()), (1, 3, ("bad",))]


def test_an_adopter_that_finds_nothing_left_reports_nothing_more() -> None:
    rig = Rig(2).boot()
    rig.exit(rig.first)
    rig.fork(rig.first)
    rig.ready(rig.first)
    rig.say(rig.first, Adopted("host#1.1", 3))
    rig.say(rig.second, Adopted("host#1.1", 0))
    rig.say(rig.second, Adopted("host#9.9", 4))
    assert [(each.consumer, each.moved) for each in rig.saw(AdoptionFinished)] == [("host#1.1", 3)]
