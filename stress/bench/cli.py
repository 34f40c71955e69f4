"""`python -m stress.bench`, and `python -m stress bench`."""

from stress.bench import (
    baseline,
    drain,
    enqueue,
    idle,
    imports,
    kill,
    latency,
    memory,
    schedule,
)
from stress.command import Scenario, Settings, scenario_command

CONCURRENCIES = (10, 100)

SCENARIOS = {
    "floor": Scenario(baseline.run, Settings(rounds=5, count=20_000, concurrencies=CONCURRENCIES)),
    "drain": Scenario(drain.run, Settings(rounds=5, count=20_000, concurrencies=CONCURRENCIES)),
    "enqueue": Scenario(enqueue.run, Settings(rounds=5, count=1_000)),
    "latency": Scenario(latency.run, Settings(rounds=5, count=400)),
    "schedule": Scenario(schedule.run, Settings(rounds=5, count=1_000, seconds=5.0)),
    "kill": Scenario(kill.run, Settings(rounds=10, count=400)),
    "idle": Scenario(idle.run, Settings(rounds=5, processes=2, seconds=10.0)),
    "import": Scenario(imports.run, Settings(rounds=15)),
    "memory": Scenario(memory.run, Settings(rounds=5, processes=8)),
}

bench = scenario_command(
    "bench",
    SCENARIOS,
    ("rounds", "count", "concurrencies", "processes", "seconds"),
    text="Measure the library. Every target is for the median of the rounds.",
    can_fail=False,
)
