"""The program `docket` and its commands. A new command is a file of its own and a line here."""

import click

from docket.cli.version import version
from docket.cli.worker import worker


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Background tasks for asyncio on Redis or Valkey."""


main.add_command(version)
main.add_command(worker)
