"""Regressions: ratios to the floor beside recorded ones, with measurements that are pretended."""

import json
from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from stress.bench.cli import bench
from stress.bench.metering import Spent
from stress.bench.regression import (
    RECORDED,
    NothingRecorded,
    RegressionOrder,
    Rounds,
    execute,
    judged,
    ratios_of,
    read,
    write_down,
)
from stress.command import Settings

SETTINGS = Settings(rounds=1, count=100, concurrencies=(10, 100))


def _spent(factor: float) -> Spent:
    """A side that is `factor` times as costly as the other, and as slow."""
    works = ("add one by one", "add in bulk", "run")
    cost = {"CPU of the process": 10 * factor, "CPU of the server": 5 * factor}
    return {work: {**cost, "rate": 1000 / factor} for work in works}


class Measured:
    """A measurement that finds the library so many times as costly as the floor, a pass each."""

    def __init__(self, *factors: float) -> None:
        self._factors = list(factors)
        self.passes = 0

    async def __call__(self, _url: str, settings: Settings) -> Rounds:
        factor = self._factors[self.passes]
        self.passes += 1
        return {each: [(_spent(1.0), _spent(factor))] for each in settings.concurrencies}


def _executed(measured: Measured, recorded: Path, *, record: bool = False) -> bool:
    order = RegressionOrder("redis://nowhere", SETTINGS, record, recorded, as_json=True)
    return execute(order, measured)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """The ratios of a library that is half as fast as the floor."""
    path = tmp_path / "recorded.json"
    assert _executed(Measured(2.0), path, record=True)
    return path


def test_what_is_recorded_passes_when_it_is_measured_again(recorded: Path) -> None:
    measured = Measured(2.0)
    assert _executed(measured, recorded)
    assert measured.passes == 1


def test_a_ratio_that_varies_a_little_passes_and_one_that_rises_does(recorded: Path) -> None:
    assert _executed(Measured(2.5), recorded)
    assert _executed(Measured(0.8), recorded)


def test_a_ratio_that_has_fallen_in_all_rounds_fails(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    measured = Measured(4.0, 4.0)
    assert not _executed(measured, recorded)
    assert measured.passes == 2
    missed = json.loads(capsys.readouterr().out)["missed"]
    assert "add in bulk: rate" in missed
    assert "run, concurrency 100: CPU of the server" in missed


def test_a_bad_round_alone_does_not_fail(recorded: Path) -> None:
    measured = Measured(4.0, 2.0)
    assert _executed(measured, recorded)
    assert measured.passes == 2


def test_cpu_is_judged_more_strictly_than_a_rate() -> None:
    recorded = {"run: rate": 1.0, "run: CPU of the server": 1.0}
    figures = judged({"run: rate": 0.65, "run: CPU of the server": 0.65}, recorded)
    assert {each.name: each.reached for each in figures} == {
        "run: rate": True,
        "run: CPU of the server": False,
    }


def test_the_best_round_of_each_side_counts() -> None:
    rounds: Sequence[tuple[Spent, Spent]] = [
        (_spent(3.0), _spent(2.0)),
        (_spent(1.0), _spent(8.0)),
    ]
    assert ratios_of({10: rounds}) == {
        f"{work}: {what}": pytest.approx(0.5)
        for work in ("add one by one", "add in bulk", "run, concurrency 10")
        for what in ("CPU of the process", "CPU of the server", "rate")
    }


def test_a_figure_that_was_not_recorded_is_an_error_and_not_a_pass() -> None:
    with pytest.raises(NothingRecorded, match=r"run: rate.*--record"):
        judged({"run: rate": 1.0, "add: rate": 1.0}, {"add: rate": 1.0})
    with pytest.raises(NothingRecorded, match="add: rate"):
        judged({}, {"add: rate": 1.0})


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"ratios": {"run": "fast"}}'])
def test_a_file_that_cannot_be_read_says_how_to_make_one(
    tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "recorded.json"
    if content is not None:
        path.write_text(content, "utf-8")
    with pytest.raises(click.ClickException, match="--record writes them anew"):
        read(path)


def test_what_is_written_down_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "recorded.json"
    write_down({"run: rate": 0.75}, path)
    assert read(path) == {"run: rate": 0.75}
    assert json.loads(path.read_text("utf-8"))["machine"]["cpus"] >= 1


@pytest.mark.timeout(180)
def test_the_command_measures_the_real_library_and_has_a_recorded_ratio_for_each(
    tmp_path: Path,
) -> None:
    path = tmp_path / "recorded.json"
    words = ["regression", "--record", "--recorded", str(path), "--rounds", "1", "--count", "100"]
    result = CliRunner().invoke(bench, words, catch_exceptions=False)
    assert result.exit_code == 0
    assert read(path).keys() == read(RECORDED).keys()
    assert all(ratio > 0 for ratio in read(path).values())


@pytest.mark.timeout(180)
def test_the_exit_code_is_1_when_a_ratio_has_fallen(tmp_path: Path) -> None:
    path = tmp_path / "recorded.json"
    write_down(dict.fromkeys(read(RECORDED), 1_000.0), path)
    words = ["regression", "--recorded", str(path), "--rounds", "1", "--count", "100"]
    result = CliRunner().invoke(bench, words, catch_exceptions=False)
    assert result.exit_code == 1
    assert "missed" in result.output
