"""The options of a dashboard, for the programs that serve one."""

import importlib
import socket
from collections.abc import Callable, Mapping
from typing import Any

import click

from docket.cli.loading import load
from docket.cli.options import Command, option
from docket.loading import load_function

_MISSING = (
    "The dashboard needs the extra `web` (Starlette, uvicorn and Jinja2), and {} is not "
    "installed: python -m pip install 'docket-supervisor[web]'"
)


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    option(
        "--bind",
        variable="DOCKET_WEB_BIND",
        default="127.0.0.1:8790",
        metavar="HOST:PORT",
        help="Where it listens; port 0 takes a free one.",
    ),
    option(
        "--read-only",
        is_flag=True,
        variable="DOCKET_WEB_READ_ONLY",
        help="Nobody may do anything but look: the observer's user of the server is enough.",
    ),
    option(
        "--users",
        variable="DOCKET_WEB_USERS",
        default=None,
        metavar="FILE",
        help="Ask for a name and a password: a file with lines NAME:HASH, as `docket web-user` "
        "prints them.",
    ),
    option(
        "--trust-header",
        variable="DOCKET_WEB_TRUST_HEADER",
        default=None,
        metavar="NAME",
        help="Believe this header of a proxy, which says who asks.",
    ),
    option(
        "--trust-proxy",
        variable="DOCKET_WEB_TRUST_PROXY",
        multiple=True,
        default=["127.0.0.1", "::1"],
        metavar="ADDRESS",
        help="Address or network of a proxy that may send it; may be given more than once.",
    ),
    option(
        "--authorize",
        variable="DOCKET_WEB_AUTHORIZE",
        default=None,
        metavar="MODULE:CALLABLE",
        help="Called with the request and the action, it returns the name of who asks, or None.",
    ),
    option(
        "--root-path",
        variable="DOCKET_WEB_ROOT_PATH",
        default="",
        metavar="PATH",
        help="The path that a proxy takes away: /docket.",
    ),
    option(
        "--origin",
        "origins",
        variable="DOCKET_WEB_ORIGIN",
        multiple=True,
        default=[],
        metavar="ORIGIN",
        help="Where it is reached behind a proxy that changes the Host header: "
        "https://ops.example.com.",
    ),
)


def web_options(command: Command) -> Command:
    """Add the options of a dashboard; the command gets them by the names of `serve`."""
    for add in reversed(_OPTIONS):
        command = add(command)
    return command


def dashboard() -> Any:
    """Import the dashboard, which needs an extra.

    Raises:
        click.UsageError: it is not installed.
    """
    try:
        return importlib.import_module("docket.web.server")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "docket":
            raise
        raise click.UsageError(_MISSING.format(error.name)) from error


def access_to(server: Any, settings: Mapping[str, Any]) -> tuple[Any, socket.socket]:
    """Read the options of a dashboard, and listen.

    Raises:
        click.UsageError: one cannot be used, or it would be open to other machines.
    """
    try:
        access = server.access_of(load_authorize=_authorize, **settings)
        return access, server.listening(access)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _authorize(path: str) -> Callable[..., Any]:
    return load("--authorize", path, load_function)
