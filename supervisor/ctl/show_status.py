"""`ctl status`: shows the pool once, or again each second.

A module of its own, since only this command needs `rich`, and the others are to start without it.
"""

import contextlib
import sys
from pathlib import Path

import click

from docket_display import printable
from supervisor.ctl import status_view
from supervisor.ctl.client import Client
from supervisor.ctl.report import read_report
from supervisor.ctl.terminal import Terminal
from supervisor.errors import NoSupervisor, SupervisorGone

#: Between two reports of --watch.
WATCH_SECONDS = 1.0


def show(path: Path, *, as_json: bool) -> None:
    """Show the pool whose control socket is at `path`."""
    terminal = Terminal(sys.stdout)
    with Client(path) as client:
        report = client.status()
    if as_json:
        _write_json(terminal, report)
    else:
        terminal.print(status_view.render(read_report(report), terminal.width))


def watch(path: Path, *, as_json: bool) -> None:
    """Show the pool each second, until it has ended or the user interrupts."""
    terminal = Terminal(sys.stdout)
    client: Client | None = Client(path)
    try:
        while client is not None:
            with client, contextlib.suppress(SupervisorGone):
                _show_until_over(client, terminal, as_json=as_json)
            # An idle client is disconnected, and this program may have been suspended: the
            # supervisor has ended only if nobody listens there now.
            client = _reconnect(path)
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            click.echo(err=True)  # the terminal has written ^C below the report
        return
    click.echo("the supervisor has ended", err=True)


def _write_json(terminal: Terminal, report: str) -> None:
    # Our own reports are ASCII on one line; but who answers may be a task of the pool.
    terminal.write_line(printable.in_json(report))


def _reconnect(path: Path) -> Client | None:
    try:
        return Client(path)
    except (NoSupervisor, SupervisorGone):
        return None


def _show_until_over(client: Client, terminal: Terminal, *, as_json: bool) -> None:
    over = False
    while not over:
        report = client.status()
        if as_json:
            _write_json(terminal, report)
        else:
            lines = status_view.render(read_report(report), terminal.width, terminal.height)
            terminal.redraw(lines)
        over = client.is_over_within(WATCH_SECONDS)
