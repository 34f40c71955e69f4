"""`docket clear`."""

import click

from docket.cli.options import docket_options
from docket.cli.session import on_docket
from docket.docket import Docket
from docket.options import DocketOptions


@click.command()
@docket_options
def clear(chosen: DocketOptions) -> None:
    """Cancel all queued and scheduled tasks; what runs is left alone."""

    async def act(docket: Docket) -> None:
        cleared = await docket.clear()
        click.echo(f"Cleared {cleared} tasks from docket {docket.name!r}")

    on_docket(chosen, act)
