"""Each scenario of size, as small as it gets: it runs to its end and finds what it looks for."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from stress.soak.cli import soak
from tests.support.parameters import rest_in_full

pytestmark = [pytest.mark.timeout(180), pytest.mark.long]

COSTS = {
    "queue": ["add", "run"],
    "scheduled": ["schedule", "promote and run"],
    "waiting": ["claim and put in line", "wake and run"],
    "pending": ["claim", "look through leases that last", "sweep", "adopt", "clear"],
    "payloads": ["add", "run"],
    "strikes": ["add", "run"],
}
#: Scripts that a scenario is about.
SCRIPTS = {
    "queue": ["schedule", "exchange", "cancel"],
    "scheduled": ["schedule", "promote", "exchange"],
    "waiting": ["acquire", "sweep_limits"],
    "pending": ["sweep", "adopt", "clear"],
    "payloads": ["exchange"],
    "strikes": ["strike"],
}


@pytest.mark.parametrize("scenario", rest_in_full(COSTS, ["pending"]))
def test_a_scenario_runs_at_a_tiny_scale(scenario: str) -> None:
    # Ratios and the clock are no matter here: how fast a loaded machine is.
    arguments = [scenario, "--scale", "0.001", "--json", "--no-limits"]
    result = CliRunner().invoke(soak, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (report,) = json.loads(result.output)["scenarios"]
    found: dict[str, dict[str, Any]] = {figure["name"]: figure for figure in report["figures"]}
    for cost in COSTS[scenario]:
        assert found[f"{cost}, ratio"]["least"] > 0
    for script in SCRIPTS[scenario]:
        assert found[f"longest script {script}, CPU"]["reached"] is True
    if scenario == "strikes":
        assert found["instructions kept"]["most"] < report["conditions"]["instructions"]
