"""The report of chaos, and the options that its command refuses."""

import importlib.util
from pathlib import Path

import pytest
from click.testing import CliRunner

from stress.chaos import report
from stress.chaos.checker import Duplicate, Redelivery, Run, Verdict
from stress.chaos.cli import chaos
from stress.chaos.fleet import describe_clocks
from stress.chaos.hosts import can_fake_clocks
from stress.chaos.plan import Fault, Kind
from stress.chaos.record import InjectedFault
from stress.chaos.run import ChaosSettings, Outcome, describe_ends
from stress.history import Event

FIRST = Run("plain", "k", 0, 1, 1, 1.0, 2.0, Event.CANCELLED)
AGAIN = Run("plain", "k", 0, 1, 2, 3.0, 4.0, Event.FINISHED)


def fault(kind: Kind) -> Fault:
    return Fault(32.5, kind, 0, 0.0, 0.5)


def outcome(**rest: object) -> Outcome:
    values: dict[str, object] = {
        "settings": ChaosSettings(Path(), 7, 60.0),
        "injected": [InjectedFault(fault(Kind.KILL_WORKER), 0.0)],
        "verdict": Verdict(runs=3),
        "accepted": {"plain:a": "plain"},
        "samples": 1,
        "descriptors_gained": 0,
        "settled_seconds": 15.0,
        "not_ended": 0,
        "clocks": (0, 7),
    }
    return Outcome(**{**values, **rest})  # type: ignore[arg-type]


def test_the_report_is_read_without_knowing_the_program() -> None:
    skipped = InjectedFault(fault(Kind.RELOAD), 0.0, skipped="busy")
    delays = [Redelivery(1.0, False), Redelivery(1.2, False), Redelivery(45.0, True)]
    verdict = Verdict(
        runs=3,
        pauses=2,
        retries=4,
        duplicates=[Duplicate(FIRST, AGAIN, "handed back")],
        redeliveries=delays,
    )
    text = report.as_text(outcome(injected=[*outcome().injected, skipped], verdict=verdict))
    assert text.splitlines() == [
        "seed 7: 1.0 minutes of faults",
        "hosts: 2, of 3 workers each",
        "clocks of the hosts: 0, +7 s",
        describe_ends(1, 0, 15.0),
        "3 runs, 2 pauses, 4 retries of failures",
        "",
        "faults and acts of operators:",
        "     1  kill -9 of a worker",
        "skipped, because the host had another one:",
        "     1  reload",
        "",
        "ran again:",
        "     1  handed back",
        "",
        "from the death of a run with its process to its next start:",
        "  the server answered all the while: 2 times, median 1.1 s, worst 1.2 s",
        "  the server was away meanwhile: once, median 45.0 s, worst 45.0 s",
        "descriptors gained by a supervisor: 0",
        "",
        "every promise was kept",
    ]


def test_what_did_not_happen_is_said_in_words() -> None:
    text = report.as_text(outcome())
    assert "nothing ran again" in text
    assert "none skipped" in text
    assert "no run died with its process and was started again" in text
    assert "2 of them have not ended" in report.as_text(outcome(not_ended=2))


def test_without_the_library_no_clock_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert not can_fake_clocks()


def test_equal_clocks_are_said_with_what_to_install() -> None:
    assert "pip install libfaketime" in describe_clocks(None)
    assert "equal" in report.as_text(outcome(clocks=None))
    assert describe_clocks((0, 7, -5)) == "clocks of the hosts: 0, +7 s, -5 s"


@pytest.mark.parametrize(
    ("found", "passed", "last"),
    [
        (outcome(), True, "every promise was kept"),
        (outcome(accepted={}), False, "no task was accepted: the run shows nothing"),
        (outcome(injected=[]), False, "no fault was carried out: the run shows nothing"),
        (outcome(verdict=Verdict(violations=["a"])), False, "  a"),
    ],
)
def test_a_run_passes_if_something_was_tried_and_nothing_was_broken(
    found: Outcome, passed: bool, last: str
) -> None:
    assert report.has_passed(found) is passed
    assert report.as_text(found).splitlines()[-1] == last


@pytest.mark.parametrize(
    "words",
    [
        ["--minutes", "0"],
        ["--minutes", "-1"],
        ["--minutes", "inf"],
        ["--rate", "0"],
        ["--processes", "0"],
        ["--hosts", "5"],
    ],
)
def test_numbers_that_make_no_run_are_refused(words: list[str]) -> None:
    assert CliRunner().invoke(chaos, words).exit_code == 2


def test_what_is_kept_goes_into_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "runs-1").touch()
    refused = CliRunner().invoke(chaos, ["--keep", str(tmp_path)])
    assert refused.exit_code == 2
    assert "is not empty" in refused.output
