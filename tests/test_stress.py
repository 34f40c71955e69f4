"""The benches run, account for what they did, and judge figures by their targets."""

import json

import pytest
from click.testing import CliRunner

from stress.bench.cli import bench
from stress.bench.report import Figure, Report, percentile


def _record(*words: str) -> dict[str, object]:
    """The --json of a bench; each measures in processes of its own, so a few tasks do."""
    result = CliRunner().invoke(bench, [*words, "--rounds", "1", "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    record: dict[str, object] = json.loads(result.output)
    return record


@pytest.mark.parametrize(
    ("words", "names"),
    [
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
        (("latency", "--count", "5"), ["enqueue to start", "enqueue to start"]),
        (
            ("schedule", "--count", "5", "--seconds", "0.1"),
            ["due to start", "due to start"],
        ),
    ],
    ids=lambda value: value[0],
)
def test_a_bench_measures_what_it_says(words: tuple[str, ...], names: list[str]) -> None:
    record = _record(*words)

    figures = record["figures"]
    assert isinstance(figures, list)
    assert record["bench"] == words[0]
    assert [figure["name"].partition(",")[0] for figure in figures] == names
    assert all(figure["median"] > 0 for figure in figures)


def test_the_floor_drains_all_that_it_was_given() -> None:
    record = _record("floor", "--count", "30", "--concurrency", "7")
    assert record["conditions"] == {"tasks": 30, "rounds": 1}


def test_without_json_the_figures_stand_in_a_table() -> None:
    words = ["floor", "--count", "5", "--rounds", "1", "--concurrency", "2"]
    result = CliRunner().invoke(bench, words, catch_exceptions=False)
    assert "tasks/s" in result.output
    assert "concurrency 2" in result.output.replace("\n", " ")


@pytest.mark.parametrize(
    ("figure", "reached"),
    [
        (Figure("rate", [3, 1, 2], "", at_least=2), True),
        (Figure("rate", [3, 1, 2], "", at_least=2.5), False),
        (Figure("time", [3, 1, 2], "", at_most=2), True),
        (Figure("time", [3, 1, 2], "", at_most=1), False),
        (Figure("size", [3, 1, 2], ""), None),
    ],
)
def test_what_is_judged_is_the_median(figure: Figure, reached: bool | None) -> None:
    assert figure.median == 2
    assert figure.reached is reached


def test_a_record_keeps_every_sample_and_its_target() -> None:
    report = Report("drain", {"rounds": 3}, [Figure("rate", [3, 1, 2], "tasks/s", at_least=2)])
    (figure,) = report.record()["figures"]
    assert figure["samples"] == [3, 1, 2]
    assert (figure["median"], figure["at_least"], figure["reached"]) == (2, 2, True)


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (50, 50), (99, 99), (99.5, 100), (100, 100)]
)
def test_a_percentile_is_a_sample_that_so_many_do_not_exceed(
    percent: float, expected: float
) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == expected
