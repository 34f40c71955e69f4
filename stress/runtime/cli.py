"""`python -m stress runtime`."""

from stress.command import Scenario, Settings, scenario_command
from stress.runtime import idle, kills, preload, reload, restarts

SCENARIOS = {
    "kills": Scenario(kills.run, Settings(rounds=50, processes=8)),
    "reload": Scenario(reload.run, Settings(rounds=5, processes=8)),
    "idle64": Scenario(idle.run, Settings(rounds=3, processes=64, seconds=20.0)),
    "preload": Scenario(preload.run, Settings(rounds=3, processes=8)),
    "restarts": Scenario(restarts.run, Settings(rounds=200, processes=8)),
}

#: No scenario takes this long; one that does hangs.
LIMIT_SECONDS = 900.0

runtime = scenario_command(
    "runtime",
    SCENARIOS,
    ("rounds", "processes", "seconds", "seed"),
    text="Measure the runtime.",
    limit_seconds=LIMIT_SECONDS,
)
