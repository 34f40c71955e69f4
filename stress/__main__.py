"""`python -m stress bench ...`: the same as `python -m stress.bench ...`."""

import click

from stress.bench.cli import bench


@click.group()
def stress() -> None:
    """Programs that press on the library."""


stress.add_command(bench)

if __name__ == "__main__":
    stress()
