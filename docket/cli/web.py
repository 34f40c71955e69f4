"""`docket web`: the dashboard of one or several dockets; `docket web-user`: who may use it."""

import importlib
from typing import Any

import click

from docket.cli import logs
from docket.cli.loading import trust_working_directory
from docket.cli.options import Command, dockets_options, logging_options
from docket.cli.session import made_to_look
from docket.cli.web_options import access_to, dashboard, web_options
from docket.options import DocketOptions
from docket.pool_control import PoolControl


def dashboard_options(command: Command) -> Command:
    """Add the options of a program that serves a dashboard, for `serve_dashboard`."""
    return dockets_options(web_options(logging_options(command)))


@click.command()
@dashboard_options
def web(chosen: tuple[DocketOptions, ...], **settings: Any) -> None:
    """Show dockets in the browser, and let people act on them.

    It listens on this machine alone, unless it is told who may look: by --users, --trust-header or
    --authorize. It needs none of your code, and decodes no arguments.
    """
    serve_dashboard(chosen, **settings)


def serve_dashboard(
    chosen: tuple[DocketOptions, ...],
    *,
    logging_level: str,
    logging_format: str | None,
    pool: PoolControl | None = None,
    **settings: Any,
) -> None:
    """Serve the dashboard of some dockets until a signal.

    Args:
        chosen: the dockets.
        logging_level, logging_format: of the log on stdout.
        pool: the control of a pool of workers beside it.
        settings: those of `web_options`.

    Raises:
        click.UsageError: an option cannot be used, or the extra is not installed.
    """
    server = dashboard()
    logs.configure(logging_level, logging_format)
    if settings["authorize"] or any(each.factory for each in chosen):
        for each in chosen:
            trust_working_directory(each.url, has_ports=True)
    names = [each.name for each in chosen]
    if len(set(names)) < len(names):
        raise click.UsageError("A docket is named twice by --docket")
    dockets = [made_to_look(each) for each in chosen]
    server.serve(dockets, *access_to(server, settings), pool)


@click.command("web-user")
@click.argument("name")
@click.password_option(help="The password; asked for if it is not given.")
def web_user(name: str, password: str) -> None:
    """Print the line of a user NAME for the file of `docket web --users`."""
    if not name or ":" in name or name.startswith("#") or not name.isprintable():
        raise click.BadParameter("a name has no colon, and does not begin with #")
    dashboard()
    hashes = importlib.import_module("docket.web.password_hashes")
    click.echo(f"{name}:{hashes.hashed(password)}")
