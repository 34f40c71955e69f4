"""Measurements: their reports and limits, their command line, and the benches that use both."""

import json
import shutil
from typing import Any

import pytest
from click.testing import CliRunner

from stress.__main__ import stress
from stress.bench import cli, instructions
from stress.command import Scenario, Settings, scenario_command
from stress.report import Figure, Limit, Report, percentile, verdict_lines

# -- reports


@pytest.mark.parametrize(
    ("limit", "reached", "said"),
    [
        (None, None, ""),
        (Limit("median", at_most=3), True, "median at most 3"),
        (Limit("median", at_most=2.5), False, "median at most 2.50"),
        (Limit("median", at_least=3), True, "median at least 3"),
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
    assert figure.must == said
    assert figure.record()["reached"] is reached


def test_a_record_has_the_samples_their_statistics_and_the_limit() -> None:
    limit = Limit("median", at_least=2)
    report = Report("drain", {"rounds": 200}, [Figure("time", range(1, 201), "ms", limit)])
    (figure,) = report.record()["figures"]
    assert [figure[each] for each in ("median", "p99", "least", "most")] == [100.5, 198, 1, 200]
    assert figure["samples"] == list(range(1, 201))
    assert (figure["must"], figure["reached"]) == ("median at least 2", True)


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (50, 50), (99, 99), (99.5, 100), (100, 100)]
)
def test_a_percentile_is_a_sample_that_so_many_do_not_exceed(
    percent: float, expected: float
) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_a_verdict_counts_the_broken_promises_and_lists_them() -> None:
    assert verdict_lines([]) == ["every promise was kept"]
    assert verdict_lines(["a"]) == ["1 promise was broken:", "  a"]
    assert verdict_lines(["a", "b"]) == ["2 promises were broken:", "  a", "  b"]
    assert verdict_lines(["a", "b", "c"], 1)[1:] == ["  a", "  and 2 more"]


# -- the command line


def _invoke(
    *words: str, limit: Limit | None = None, can_fail: bool = True
) -> tuple[int, str, list[Settings]]:
    """Run a command whose scenarios measure nothing; its exit code, output, and their settings."""
    used: list[Settings] = []

    async def measured(_url: str, settings: Settings) -> Report:
        used.append(settings)
        return Report("pretended", {"seed": settings.seed}, [Figure("size", [2.0], "MB", limit)])

    command = scenario_command(
        "pretend",
        {
            "short": Scenario(measured, Settings(rounds=5, processes=8)),
            "long": Scenario(measured, Settings(rounds=5, processes=8, seconds=3.0)),
        },
        ("rounds", "processes", "seconds", "seed"),
        text="Pretend.",
        can_fail=can_fail,
    )
    arguments = ["--url", "redis://nowhere", *words]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    return result.exit_code, result.output, used


def test_without_a_name_every_scenario_runs_with_its_own_size_and_the_same_seed() -> None:
    code, output, used = _invoke()
    assert code == 0
    assert [(each.rounds, each.processes, each.seconds) for each in used] == [(5, 8, 0), (5, 8, 3)]
    assert len({each.seed for each in used}) == 1
    assert output.count("pretended: seed") == 2
    assert "measured on python" in output


def test_a_scenario_runs_alone_with_the_size_that_is_given() -> None:
    options = ("--rounds", "1", "--processes", "2", "--seconds", "0.5", "--seed", "7")
    code, _, used = _invoke("long", *options)
    assert code == 0
    assert used == [Settings(rounds=1, processes=2, seconds=0.5, seed=7)]


def test_a_size_that_no_chosen_scenario_has_is_refused() -> None:
    code, output, used = _invoke("short", "--seconds", "1")
    assert (code, used) == (2, [])
    assert "short: there is no --seconds to change" in output
    assert _invoke("short", "long", "--seconds", "1")[0] == 0


@pytest.mark.parametrize(("most", "code"), [(2.0, 0), (1.0, 1)])
def test_a_missed_limit_is_an_exit_code_unless_limits_are_off(most: float, code: int) -> None:
    limit = Limit("most", at_most=most)
    exit_code, output, _ = _invoke("short", limit=limit)
    assert exit_code == code
    assert ("missed" in output) is (code == 1)
    assert _invoke("short", "--no-limits", limit=limit)[0] == 0
    assert _invoke("short", limit=limit, can_fail=False)[0] == 0


def test_a_record_for_programs_has_the_machine_and_the_missed_figures() -> None:
    code, output, _ = _invoke("short", "--json", limit=Limit("most", at_most=1))
    record = json.loads(output)
    assert code == 1
    assert record["missed"] == ["size"]
    assert record["machine"]["cpus"] >= 1
    (scenario,) = record["scenarios"]
    assert scenario["figures"][0]["samples"] == [2.0]


@pytest.mark.parametrize("name", ["bench", "runtime", "soak", "chaos", "away", "scale"])
def test_every_command_is_one_of_the_group(name: str) -> None:
    result = CliRunner().invoke(stress, [name, "--help"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "--json" in result.output


# -- the benches


def _record(*words: str) -> dict[str, Any]:
    """Run a bench with --json; each measures in processes of its own, so a few tasks do."""
    arguments = [*words, "--rounds", "1", "--json"]
    result = CliRunner().invoke(cli.bench, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    (scenario,) = json.loads(result.output)["scenarios"]
    found: dict[str, Any] = scenario
    return found


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("floor", "--count", "30", "--concurrency", "7"), ["floor"]),
        (
            ("drain", "--count", "50", "--concurrency", "5"),
            ["floor", "library", "library / floor", "connections"],
        ),
        (
            ("enqueue", "--count", "20"),
            [
                "adds awaited together",
                "adds awaited one by one",
                "together / one by one",
                "round trips for 20 adds",
            ],
        ),
        (
            ("latency", "--count", "5"),
            [
                *("enqueue to start", "enqueue to start"),
                *("floor", "floor", "library / floor", "library / floor"),
                *("library", "floor"),
            ],
        ),
        (
            ("schedule", "--count", "5", "--seconds", "0.1"),
            ["due to start", "due to start"],
        ),
    ],
    ids=lambda value: value[0],
)
def test_a_bench_measures_what_it_says(words: tuple[str, ...], names: list[str]) -> None:
    record = _record(*words)

    assert record["scenario"] == words[0]
    if words[0] == "floor":
        assert record["conditions"] == {"tasks": 30, "rounds": 1}
    assert [figure["name"].partition(",")[0] for figure in record["figures"]] == names
    assert all(figure["median"] > 0 for figure in record["figures"])


def test_without_json_the_figures_stand_in_a_table() -> None:
    words = ["floor", "--count", "5", "--rounds", "1", "--concurrency", "2"]
    result = CliRunner().invoke(cli.bench, words, catch_exceptions=False)
    assert "tasks/s" in result.output
    assert "concurrency 2" in result.output.replace("\n", " ")


@pytest.mark.anyio
async def test_without_valgrind_no_instructions_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    report = await instructions.run("memory://", Settings(rounds=1, count=1))
    assert report.figures == []
    assert report.record()["conditions"] == {"valgrind": "not installed"}


@pytest.mark.anyio
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
async def test_the_instructions_of_the_server_are_counted_for_each_task() -> None:
    report = await instructions.run("memory://", Settings(rounds=1, count=20, concurrencies=(5,)))
    figures = {each.name: each.value_of("median") for each in report.figures}
    runs = ["run, concurrency 5", "run, concurrency 5, of the floor"]
    assert list(figures) == ["add one by one", "add together", *runs]
    assert figures["add one by one"] > figures["add together"] > 0
