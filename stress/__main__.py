"""`python -m stress bench ...`, `python -m stress runtime ...` and `python -m stress chaos ...`."""

import click

from stress.bench.cli import bench
from stress.chaos.cli import chaos
from stress.runtime.cli import runtime


@click.group()
def stress() -> None:
    """Programs that press on the library."""


stress.add_command(bench)
stress.add_command(runtime)
stress.add_command(chaos)

if __name__ == "__main__":
    stress()
