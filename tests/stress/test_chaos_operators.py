"""The checks of chaos on what operators asked for: pauses and retries."""

import pytest

from stress.chaos.checker import Knowledge, Run
from stress.chaos.operator_checks import check_pauses, check_retries
from stress.chaos.operators import Pause
from stress.chaos.plan import ACTS, TRAITS, Fault, Kind, Topology, kinds_of
from stress.chaos.record import End
from stress.history import Event, Line

NOTHING = Knowledge({}, {}, {})
PAUSED = Pause("plain", 10.0, 13.0)


def run(started: float, kind: str = "plain", pid: int = 1, ended: float | None = None) -> Run:
    return Run(kind, f"{kind}:1", 0, 1, pid, started, ended or started + 0.1, Event.FINISHED)


@pytest.mark.parametrize("pause", [PAUSED, Pause(None, 10.0, 13.0)])
def test_a_run_that_begins_more_than_a_second_after_a_pause_breaks_it(pause: Pause) -> None:
    (said,) = check_pauses([run(11.5)], [pause], NOTHING)
    assert said.startswith("plain:1 began 1.500 s after the pause of ")


@pytest.mark.parametrize("started", [9.0, 10.9, 13.0])
def test_a_run_before_that_or_after_its_end_does_not(started: float) -> None:
    assert check_pauses([run(started)], [PAUSED], NOTHING) == []


def test_the_pause_of_a_function_does_not_concern_the_others() -> None:
    assert check_pauses([run(11.5, "limited")], [PAUSED], NOTHING) == []


def test_what_was_claimed_before_by_a_process_that_stood_still_is_excused() -> None:
    frozen = Knowledge({}, {}, {1: [(9.5, 11.4)]})
    away = Knowledge({}, {}, {}, away=((10.5, 11.0),))
    blocker = run(9.8, "blocker", ended=11.4)
    assert check_pauses([run(11.5)], [PAUSED], frozen) == []
    assert check_pauses([run(11.5)], [PAUSED], away) == []
    assert check_pauses([blocker, run(11.5)], [PAUSED], NOTHING) == []
    assert len(check_pauses([blocker, run(11.5, pid=2)], [PAUSED], NOTHING)) == 1


ACCEPTED = {"failing:1": "failing", "plain:1": "plain"}


def ends(generation: int) -> dict[str, End]:
    return {
        "failing:1": End("failing:1", "failed", "", 1.0, generation),
        "plain:1": End("plain:1", "completed", "", 1.0, 5),
    }


def retries(generation: int, made: int, doubtful: int = 0, *lines: Line) -> list[str]:
    return check_retries(ACCEPTED, ends(generation), lines, made, doubtful, may_be_lost=False)


def test_each_retry_makes_one_more_execution() -> None:
    assert retries(3, made=2) == []
    assert retries(2, made=2) == ["2 failures were retried, but only 1 more executions were made"]
    (said,) = retries(4, made=2)
    assert said.startswith("3 more executions were made of 2 retries, 0 without an answer")


def test_a_retry_without_an_answer_and_a_repeated_add_may_have_made_one() -> None:
    again = Line(1.0, "failing", Event.AGAIN, "failing:1", 0, 1, 1)
    assert retries(4, made=2, doubtful=1) == []
    assert retries(4, 2, 0, again) == []
    assert len(retries(5, 2, 0, again)) == 1


def test_a_failover_may_take_a_retry_back() -> None:
    assert check_retries(ACCEPTED, ends(1), (), 2, 0, may_be_lost=True) == []


def test_operators_act_in_every_topology_and_on_the_docket() -> None:
    assert len(ACTS) == 5
    assert all(set(kinds_of(topology)) >= ACTS for topology in Topology)
    assert all(Fault(1.0, kind, 1, 0.0, 0.5).target == "docket" for kind in ACTS)
    assert all(TRAITS[kind].lasts[0] > 1.0 for kind in (Kind.ACT_PAUSE, Kind.ACT_PAUSE_ALL))
