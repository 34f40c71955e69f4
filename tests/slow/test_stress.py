"""The benches that start whole pools."""

import json

import pytest
from click.testing import CliRunner

from stress.bench.cli import bench


@pytest.mark.parametrize(
    "words",
    [
        ("kill", "--count", "300"),
        ("idle", "--processes", "1", "--seconds", "1"),
        ("memory", "--processes", "1"),
    ],
    ids=lambda words: words[0],
)
def test_a_bench_of_a_pool_measures_and_ends_it(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(bench, [*words, "--rounds", "1", "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    assert all(
        figure["median"] >= 0 for figure in json.loads(result.output)["scenarios"][0]["figures"]
    )
