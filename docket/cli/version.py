"""`docket version`."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

import click

DISTRIBUTION = "docket-supervisor"


@click.command()
def version() -> None:
    """Print the version."""
    try:
        click.echo(installed_version(DISTRIBUTION))
    except PackageNotFoundError as error:
        raise click.ClickException(
            f"{DISTRIBUTION} is not installed: this runs from a source tree, which has no version"
        ) from error
