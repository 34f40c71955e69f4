"""`python -m stress bench`, `runtime`, `chaos`, `away` and `soak`."""

import click

from stress.away.cli import away
from stress.bench.cli import bench
from stress.chaos.cli import chaos
from stress.runtime.cli import runtime
from stress.soak.cli import soak


@click.group()
def stress() -> None:
    """Programs that press on the library."""


stress.add_command(bench)
stress.add_command(runtime)
stress.add_command(chaos)
stress.add_command(away)
stress.add_command(soak)

if __name__ == "__main__":
    stress()
