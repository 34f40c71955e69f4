"""The benches that start whole pools."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from stress.bench.cli import bench
from stress.scale.costs import read_costs
from tests.support.parameters import in_full


@pytest.mark.parametrize(
    "words",
    [
        ("kill", "--count", "300"),
        *in_full(
            ("idle", "--processes", "1", "--seconds", "1"),
            ("memory", "--processes", "1"),
        ),
    ],
    ids=lambda words: words[0],
)
def test_a_bench_of_a_pool_measures_and_ends_it(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(bench, [*words, "--rounds", "1", "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    assert all(
        figure["median"] >= 0 for figure in json.loads(result.output)["scenarios"][0]["figures"]
    )


@pytest.mark.timeout(180)
def test_what_the_bench_measures_is_what_the_costs_are_read_from(tmp_path: Path) -> None:
    words = ["cost", "--json", "--rounds", "1", "--count", "100"]
    result = CliRunner().invoke(bench, words, catch_exceptions=False)
    path = tmp_path / "costs.json"
    path.write_text(result.output, "utf-8")
    costs = read_costs(path)
    assert all(value >= 0 for value in asdict(costs).values())
    assert costs.failed_bytes > costs.ended_bytes > 0
    assert (costs.producer_connections, costs.worker_connections) == (2, 4)
