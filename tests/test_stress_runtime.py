"""What the figures of the runtime are made of: limits, the ledger of the tasks, capacity."""

import importlib
import json
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from stress.__main__ import stress
from stress.runtime import cli, kills, preload, reload, restarts
from stress.runtime.capacity import Sample, between, ready_workers, sample, widest_gap
from stress.runtime.ledger import BEGUN, ENDED, Ledger, line
from stress.runtime.processes import Footprint
from stress.runtime.report import Figure, Limit, Report
from stress.runtime.settings import Settings
from stress.runtime.watched import decode, encode
from supervisor.observer import AdoptionFinished, PoolEvent, Stopped, WorkerDied, WorkerReady

# -- limits


@pytest.mark.parametrize(
    ("limit", "reached", "said"),
    [
        (None, None, ""),
        (Limit("median", at_most=3), True, "median at most 3"),
        (Limit("p99", below=250), False, "p99 under 250"),
        (Limit("most", at_most=250), True, "at most 250"),
        (Limit("most", below=250), False, "under 250"),
        (Limit("least", at_least=2), False, "at least 2"),
        (Limit("least", at_least=1), True, "at least 1"),
    ],
)
def test_a_limit_judges_the_statistic_that_it_names(
    limit: Limit | None, reached: bool | None, said: str
) -> None:
    figure = Figure("time", [1, 3, 250], "ms", limit)
    assert figure.reached is reached
    assert ("" if limit is None else str(limit)) == said
    assert figure.record()["reached"] is reached


def test_a_record_has_the_samples_and_what_is_made_of_them() -> None:
    figure = Figure("time", [float(n) for n in range(1, 201)], "ms").record()
    assert (figure["median"], figure["p99"], figure["least"], figure["most"]) == (
        100.5,
        198,
        1,
        200,
    )
    assert len(figure["samples"]) == 200


# -- the ledger

KEYS = st.sampled_from(["a", "b c", "d\u00e9"])
LINES = st.lists(
    st.builds(
        line,
        st.sampled_from([BEGUN, ENDED]),
        KEYS,
        st.integers(1, 3),
        st.floats(0, 100, allow_nan=False),
    )
)


@given(LINES, st.data())
def test_a_ledger_says_the_same_however_its_text_is_torn(
    lines: list[str], data: st.DataObject
) -> None:
    text = "".join(lines)
    whole, torn = Ledger(), Ledger()
    whole.feed(text)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        torn.feed(text[begin:end])
    assert torn.starts == whole.starts
    assert torn.cut_short() == whole.cut_short()
    assert torn.unfinished("abc") == whole.unfinished("abc")
    assert [torn.interrupted(pid) for pid in (1, 2)] == [whole.interrupted(pid) for pid in (1, 2)]


def _ledger(*lines: tuple[str, str, int, float]) -> Ledger:
    ledger = Ledger()
    ledger.feed("".join(line(*each) for each in lines))
    return ledger


def test_the_first_start_again_is_the_earliest_of_what_was_interrupted() -> None:
    ledger = _ledger(
        (BEGUN, "done", 1, 1.0),
        (BEGUN, "late", 1, 1.1),
        (BEGUN, "early", 1, 1.2),
        (ENDED, "done", 1, 1.3),
        (BEGUN, "another", 2, 1.4),
        (BEGUN, "early", 2, 2.0),
        (BEGUN, "late", 3, 2.1),
        (BEGUN, "done", 2, 1.9),
    )
    assert ledger.interrupted(1) == {"late", "early"}
    assert ledger.first_start_again(1) == 2.0
    assert ledger.begun == 4


def test_who_was_in_the_middle_of_nothing_has_no_start_again() -> None:
    ledger = _ledger((BEGUN, "done", 1, 1.0), (ENDED, "done", 1, 1.3), (BEGUN, "done", 2, 1.9))
    assert ledger.first_start_again(1) is None
    assert ledger.first_start_again(9) is None


def test_a_run_is_cut_short_unless_it_ended_where_it_began() -> None:
    ledger = _ledger((BEGUN, "a", 1, 1.0), (BEGUN, "a", 2, 2.0), (ENDED, "a", 2, 3.0))
    assert ledger.cut_short() == 1
    assert ledger.unfinished(["a", "never begun"]) == {"never begun"}


# -- capacity


def _status(*states: str) -> dict[str, Any]:
    return {"supervisor": {"target": 2}, "workers": [{"state": state} for state in states]}


def test_an_answer_counts_the_ready_whatever_else_there_is() -> None:
    status = _status("ready", "draining", "ready", "starting", "ready", "dead")
    assert sample(status, 1.0, 2.0) == Sample(1.0, 2.0, ready=3, target=2)


def test_only_answers_that_were_asked_for_and_given_in_the_time_count() -> None:
    samples = [Sample(float(at), at + 0.5, 2, 2) for at in range(5)]
    assert between(samples, 1.0, 3.5) == samples[1:4]
    assert between(samples, 1.1, 3.4) == samples[2:3]


def test_the_widest_gap_is_from_a_question_to_the_next_answer() -> None:
    assert widest_gap([Sample(0, 1, 2, 2), Sample(1, 2, 2, 2), Sample(5, 6, 2, 2)]) == 5
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


# -- what the scenarios make of what they saw


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
    full = reload.LookedAt([Sample(0, 1, 8, 8), Sample(1, 2, 9, 8)])
    short = reload.LookedAt([Sample(0, 1, 8, 8), Sample(1, 2, 7, 8)])
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
def test_it_is_said_what_was_imported(
    monkeypatch: pytest.MonkeyPatch, installed: object, said: str
) -> None:
    monkeypatch.setattr(preload.importlib.util, "find_spec", lambda _name: installed)
    monkeypatch.setattr(preload.importlib.metadata, "version", lambda _name: "2.0")
    assert said in preload.heavy().what


def test_the_stand_in_is_a_module_of_tasks() -> None:
    assert importlib.import_module("stress.runtime.heavy_standard").nothing == []


# -- the command line


def _pretend(monkeypatch: pytest.MonkeyPatch, limit: Limit | None) -> list[Settings]:
    """Scenarios that measure nothing and have one figure of 2; what they were told."""
    told: list[Settings] = []

    async def measured(_url: str, settings: Settings) -> Report:
        told.append(settings)
        return Report("pretended", {"seed": settings.seed}, [Figure("size", [2.0], "MB", limit)])

    pretended = cli.Scenario(measured, rounds=5, processes=8, seconds=3.0)
    monkeypatch.setattr(cli, "SCENARIOS", dict.fromkeys(cli.SCENARIOS, pretended))
    return told


def _invoke(*words: str) -> tuple[int, str]:
    arguments = ["runtime", "--url", "redis://nowhere", *words]
    result = CliRunner().invoke(stress, arguments, catch_exceptions=False)
    return result.exit_code, result.output


def test_without_a_name_every_scenario_runs_with_its_own_size_and_the_same_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = _pretend(monkeypatch, None)
    code, output = _invoke()
    assert code == 0
    assert len(told) == len(cli.SCENARIOS)
    assert {(each.rounds, each.processes, each.seconds) for each in told} == {(5, 8, 3.0)}
    assert len({each.seed for each in told}) == 1
    assert output.count("pretended: seed") == len(told)
    assert "measured on python" in output


def test_a_scenario_runs_alone_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = _pretend(monkeypatch, None)
    options = ("--rounds", "1", "--processes", "2", "--seconds", "0.5", "--seed", "7")
    assert _invoke("kills", *options)[0] == 0
    assert told == [Settings(rounds=1, processes=2, seconds=0.5, seed=7)]


@pytest.mark.parametrize(("most", "code"), [(2.0, 0), (1.0, 1)])
def test_a_limit_that_is_missed_is_told_by_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, most: float, code: int
) -> None:
    _pretend(monkeypatch, Limit("most", at_most=most))
    exit_code, output = _invoke("reload")
    assert exit_code == code
    assert ("missed" in output) is (code == 1)
    assert _invoke("reload", "--no-limits")[0] == 0


def test_a_record_for_programs_has_the_machine_and_what_was_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _pretend(monkeypatch, Limit("most", at_most=1))
    code, output = _invoke("kills", "--json")
    record = json.loads(output)
    assert code == 1
    assert record["missed"] == ["size"]
    assert record["machine"]["cpus"] >= 1
    (scenario,) = record["scenarios"]
    assert scenario["figures"][0]["samples"] == [2.0]


def test_the_benches_are_still_where_they_were() -> None:
    result = CliRunner().invoke(stress, ["bench", "--help"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "latency" in result.output
