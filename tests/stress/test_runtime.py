"""The calculations behind the figures of the runtime: runs, capacity, limits."""

import importlib
from typing import Any

import pytest

from stress.history import Event, Line
from stress.processes import Footprint
from stress.report import Figure
from stress.runtime import kills, preload, reload, restarts
from stress.runtime.capacity import CapacitySample, between, ready_workers, sample, widest_gap
from stress.runtime.observed_supervisor import decode, encode
from stress.runtime.run_log import RunLog
from supervisor.observer import AdoptionFinished, PoolEvent, Stopped, WorkerDied, WorkerReady

# -- the runs

STARTED, FINISHED, CANCELLED = Event.STARTED, Event.FINISHED, Event.CANCELLED


def _log(*lines: tuple[Event, str, int, float]) -> RunLog:
    log = RunLog()
    log.add(Line(at, "short", event, key, 0, 1, pid) for event, key, pid, at in lines)
    return log


def test_the_first_start_again_is_the_earliest_of_what_was_interrupted() -> None:
    log = _log(
        (STARTED, "done", 1, 1.0),
        (STARTED, "late", 1, 1.1),
        (STARTED, "early", 1, 1.2),
        (FINISHED, "done", 1, 1.3),
        (STARTED, "another", 2, 1.4),
        (STARTED, "early", 2, 2.0),
        (STARTED, "late", 3, 2.1),
        (STARTED, "done", 2, 1.9),
    )
    assert log.interrupted(1) == {"late", "early"}
    assert log.first_start_again(1) == 2.0
    assert log.begun == 4


def test_a_process_that_was_in_the_middle_of_nothing_has_no_start_again() -> None:
    log = _log((STARTED, "done", 1, 1.0), (FINISHED, "done", 1, 1.3), (STARTED, "done", 2, 1.9))
    assert log.first_start_again(1) is None
    assert log.first_start_again(9) is None


def test_a_run_is_cut_short_unless_it_finished_where_it_began() -> None:
    log = _log((STARTED, "a", 1, 1.0), (STARTED, "a", 2, 2.0), (FINISHED, "a", 2, 3.0))
    assert log.cut_short() == 1
    assert log.unfinished(["a", "never begun"]) == {"never begun"}
    assert _log((STARTED, "a", 1, 1.0), (CANCELLED, "a", 1, 2.0)).cut_short() == 1


# -- capacity


def _status(*states: str) -> dict[str, Any]:
    return {"supervisor": {"target": 2}, "workers": [{"state": state} for state in states]}


def test_an_answer_counts_the_ready_whatever_else_there_is() -> None:
    status = _status("ready", "draining", "ready", "starting", "ready", "dead")
    assert sample(status, 1.0, 2.0) == CapacitySample(1.0, 2.0, ready=3, target=2)


def test_only_answers_that_were_asked_for_and_given_in_the_time_count() -> None:
    samples = [CapacitySample(float(at), at + 0.5, 2, 2) for at in range(5)]
    assert between(samples, 1.0, 3.5) == samples[1:4]
    assert between(samples, 1.1, 3.4) == samples[2:3]


def test_the_widest_gap_is_from_a_question_to_the_next_answer() -> None:
    assert (
        widest_gap(
            [CapacitySample(0, 1, 2, 2), CapacitySample(1, 2, 2, 2), CapacitySample(5, 6, 2, 2)]
        )
        == 5
    )
    assert widest_gap([]) == 0


def _ready(slot: int, pid: int) -> WorkerReady:
    return WorkerReady(slot, pid, f"host#{slot}", 1, 0.0)


def _died(slot: int, pid: int | None) -> WorkerDied:
    return WorkerDied(slot, pid, f"host#{slot}", "killed", False, 0.0)


def test_ready_are_those_that_got_ready_and_did_not_die_two_of_a_slot_included() -> None:
    events: list[PoolEvent] = [_ready(2, 20), _ready(1, 10), _died(2, 20), _died(3, None)]
    assert [worker.pid for worker in ready_workers(events)] == [10]
    assert [worker.pid for worker in ready_workers([*events, _ready(1, 11)])] == [10, 11]


@pytest.mark.parametrize(
    "event",
    [
        _ready(1, 10),
        _died(3, None),
        Stopped(0, None, 1.25),
        AdoptionFinished(1, "host#1.1", 3, (), 0.1, 5.0),
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_event_comes_over_the_pipe_as_it_was(event: PoolEvent) -> None:
    decoded = decode(encode(event))
    assert type(decoded) is type(event)
    assert encode(decoded) == encode(event)


# -- the figures of the scenarios


def _figures(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


def test_kills_are_judged_by_the_slowest_of_a_hundred() -> None:
    fast = [kills.Kill(1.0, 10.0, 50.0, 3) for _ in range(99)]
    for slow, reached in ((1, True), (3, False)):
        some = [*fast, *[kills.Kill(1.0, 300.0, 2000.0, 3)] * slow]
        found = _figures(kills.figures(some, 0, 1.0))
        assert found["kill to first redelivered start"].reached is reached
        assert found["kill to replacement ready"].reached is reached
        assert found["tasks lost"].reached


def test_a_kill_that_hit_no_task_says_nothing_about_redelivery() -> None:
    nothing = kills.Kill(1.0, None, 50.0, 0)
    found = _figures(kills.figures([nothing, kills.Kill(1.0, 10.0, 50.0, 3)], 1, 1.0))
    assert found["kill to first redelivered start"].samples == [10.0]
    assert found["tasks lost"].reached is False
    with pytest.raises(ValueError, match="no kill hit a task"):
        kills.figures([nothing], 0, 1.0)


def test_one_answer_below_target_is_one_too_many() -> None:
    full = [CapacitySample(0, 1, 8, 8), CapacitySample(1, 2, 9, 8)]
    short = [CapacitySample(0, 1, 8, 8), CapacitySample(1, 2, 7, 8)]
    name = "lowest number of ready workers"
    assert _figures(reload.figures_of_capacity([full], 8))[name].reached
    assert _figures(reload.figures_of_capacity([full, short], 8))[name].reached is False


def test_what_grew_over_restarts_is_a_leak() -> None:
    before = Footprint(descriptors=40, threads=2, children=9, pss=20.0, rss=30.0)
    after = Footprint(descriptors=41, threads=2, children=9, pss=21.0, rss=50.0)
    found = _figures(restarts.figures(before, after))
    missed = [name for name, figure in found.items() if figure.reached is False]
    assert missed == ["descriptors after", "RSS after"]


@pytest.mark.parametrize(("installed", "said"), [(None, "is missing"), (object(), "SQLAlchemy")])
def test_the_report_names_the_import(
    monkeypatch: pytest.MonkeyPatch, installed: object, said: str
) -> None:
    monkeypatch.setattr(preload.importlib.util, "find_spec", lambda _name: installed)
    monkeypatch.setattr(preload.importlib.metadata, "version", lambda _name: "2.0")
    assert said in preload.heavy_import()[1]


def test_the_stand_in_is_a_module_of_tasks() -> None:
    assert importlib.import_module("stress.runtime.heavy_imports_standard").nothing == []
