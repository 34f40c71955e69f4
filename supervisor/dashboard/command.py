"""`docket-supervisor web`: the dashboard of dockets, with the pool's actions beside them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import click
from click.core import ParameterSource

from docket.cli.web import dashboard_options, serve_dashboard
from docket.options import DocketOptions
from supervisor.ctl.client import Client
from supervisor.ctl.commands import CONTROL_OPTION, control_path, give_back_signals
from supervisor.dashboard.socket_pool import SocketPool
from supervisor.signals import SignalQueue

#: In a URL as it is shown, where a password was.
_HIDDEN = "***"


@click.command("web", context_settings={"help_option_names": ["-h", "--help"]})
@CONTROL_OPTION
@dashboard_options
@click.pass_context
def web(
    context: click.Context,
    control: str | None,
    chosen: tuple[DocketOptions, ...],
    **settings: Any,
) -> None:
    """Show dockets and their pool in the browser, and let people act on them.

    Beside what `docket web` does, it shows the processes of the pool (memory, lag, generation), and
    scales, reloads, restarts and dumps. The docket and the server are those of the pool unless they
    are given; a URL with a password has to be.
    """
    signal_queue = context.find_object(SignalQueue)
    if signal_queue is not None:
        give_back_signals(signal_queue)
    path = control_path(context, control)
    with Client(path) as client:
        pool = json.loads(client.status())["supervisor"]
    if context.get_parameter_source("url") is ParameterSource.DEFAULT:
        if _HIDDEN in pool["url"]:
            raise click.UsageError("The pool's server asks for a password: give its --url")
        chosen = tuple(replace(each, url=_reachable(pool["url"])) for each in chosen)
    if context.get_parameter_source("docket_name") is ParameterSource.DEFAULT:
        chosen = (replace(chosen[0], name=pool["docket"]),)
    serve_dashboard(chosen, pool=SocketPool(path, pool["docket"]), **settings)


def _reachable(url: str) -> str:
    """Return the URL under which others reach the server of a pool: one of its own has a socket."""
    folder = url.removeprefix("embedded://")
    return url if folder == url else f"unix://{folder}/valkey.sock"
