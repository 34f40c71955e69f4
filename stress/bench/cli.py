"""`python -m stress.bench`, and `python -m stress bench`."""

from typing import Any

import click

from stress.bench import (
    baseline,
    cost,
    drain,
    enqueue,
    idle,
    imports,
    instructions,
    kill,
    latency,
    memory,
    schedule,
)
from stress.bench.peers.cli import peers
from stress.bench.regression import regression
from stress.command import Scenario, Settings, scenario_command

CONCURRENCIES = (10, 100)

SCENARIOS = {
    "floor": Scenario(baseline.run, Settings(rounds=5, count=20_000, concurrencies=CONCURRENCIES)),
    "drain": Scenario(drain.run, Settings(rounds=5, count=20_000, concurrencies=CONCURRENCIES)),
    "enqueue": Scenario(enqueue.run, Settings(rounds=5, count=1_000)),
    "cost": Scenario(cost.run, Settings(rounds=5, count=10_000, concurrencies=CONCURRENCIES)),
    "latency": Scenario(latency.run, Settings(rounds=5, count=400)),
    "schedule": Scenario(schedule.run, Settings(rounds=5, count=1_000, seconds=5.0)),
    "kill": Scenario(kill.run, Settings(rounds=10, count=400)),
    "idle": Scenario(idle.run, Settings(rounds=5, processes=2, seconds=10.0)),
    "instructions": Scenario(
        instructions.run, Settings(rounds=1, count=1_000, concurrencies=CONCURRENCIES)
    ),
    "import": Scenario(imports.run, Settings(rounds=15)),
    "memory": Scenario(memory.run, Settings(rounds=5, processes=8)),
}

_scenarios = scenario_command(
    "bench",
    SCENARIOS,
    ("rounds", "count", "concurrencies", "processes", "seconds"),
    text="Measure the library. Every target is for the median of the rounds."
    "\n\n`peers` compares it with other task queues, `regression` with its own speed as it was"
    " recorded. Both have their own `--help`.",
    can_fail=False,
)

#: Commands that run alone, with options of their own.
_ALONE: dict[str | None, click.Command] = {each.name: each for each in (peers, regression)}


class Bench(click.Command):
    """The scenarios, any number in one command, or one of the comparisons, alone."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Read the command line as that of the one or of the other."""
        if args and (alone := _ALONE.get(args[0])):
            return alone.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return _scenarios.make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that the line was read for."""
        return ctx.command.invoke(ctx)


bench = Bench("bench", help=_scenarios.help)
