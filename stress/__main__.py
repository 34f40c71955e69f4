"""`python -m stress bench ...` and `python -m stress runtime ...`."""

import click

from stress.bench.cli import bench
from stress.runtime.cli import runtime


@click.group()
def stress() -> None:
    """Programs that press on the library."""


stress.add_command(bench)
stress.add_command(runtime)

if __name__ == "__main__":
    stress()
