"""The server goes away in the middle of the load of a real pool, in three ways, and comes back."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from stress.chaos.outage import metrics, report
from stress.chaos.outage.cli import away
from stress.chaos.outage.kinds import OutageKind
from stress.chaos.outage.run import OutageSettings, run, violations
from tests.support.parameters import rest_in_full

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240), pytest.mark.long]

#: Long enough for each way to be noticed: who is only silent is given up after eleven seconds.
SECONDS = {OutageKind.KILL: 10.0, OutageKind.REFUSE: 10.0, OutageKind.STOP: 15.0}
PROCESSES = 4
#: The promise is two seconds; here others are at work on the machine, too.
RESUMED_SECONDS = 6.0
#: A worker connects with the pipeline, the bell, the subscriber and the keeper.
CONNECTIONS = 4 * PROCESSES


@pytest.mark.parametrize("kind", rest_in_full(OutageKind, [OutageKind.KILL]))
async def test_an_outage_kills_nobody_repeats_nothing_and_is_over_with_the_servers_return(
    kind: OutageKind, tmp_path: Path
) -> None:
    result = await run(OutageSettings(tmp_path, kind, SECONDS[kind], PROCESSES))
    told = report.as_json(result)
    assert violations(result, RESUMED_SECONDS) == [], json.dumps(told, indent=2)
    # Everyone is back, and did not come all at once.
    assert max(told["connections_in_each_tenth"]) < CONNECTIONS
    # Six attempts in the first two seconds, then one in 0.6 s, of each connection.
    attempts = metrics.attempts_a_second(result.accepted, result.outage)
    assert attempts < 3 * CONNECTIONS
    assert told["log_lines"] <= 4 * PROCESSES + 2


def test_the_program_prints_the_figures_and_fails_with_a_broken_promise() -> None:
    words = ["--seconds", "2", "--way", "refuse", "--processes", "1", "--json"]
    result = CliRunner().invoke(away, words, catch_exceptions=False)
    (told,) = json.loads(result.stdout)
    assert told["way"] == "refuse"
    assert 2.0 <= told["outage_seconds"] < 10.0
    assert result.exit_code == bool(told["violations"])
