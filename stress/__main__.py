"""`python -m stress bench`, `runtime`, `chaos` and `away`."""

import click

from stress.away.cli import away
from stress.bench.cli import bench
from stress.chaos.cli import chaos
from stress.runtime.cli import runtime


@click.group()
def stress() -> None:
    """Programs that press on the library."""


stress.add_command(bench)
stress.add_command(runtime)
stress.add_command(chaos)
stress.add_command(away)

if __name__ == "__main__":
    stress()
