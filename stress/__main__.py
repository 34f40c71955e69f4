"""`python -m stress bench`, `runtime`, `chaos`, `away`, `soak` and `scale`."""

import click

from stress.bench.cli import bench
from stress.chaos.cli import chaos
from stress.chaos.outage.cli import away
from stress.runtime.cli import runtime
from stress.scale.cli import scale
from stress.soak.cli import soak


@click.group(commands=[bench, runtime, chaos, away, soak, scale])
def stress() -> None:
    """Measure the library, reckon its size, and test its promises under faults."""


if __name__ == "__main__":
    stress()
