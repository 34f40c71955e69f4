"""The commands of `docket-supervisor ctl`, which inspect and control a running pool.

Imported only when they are asked for, and import little themselves, so that they start at once: no
event loop, no Redis, no docket.
"""

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from ipc.control import (
    DrainRequest,
    DumpRequest,
    ReloadRequest,
    Request,
    RestartRequest,
    ScaleBetweenRequest,
    ScaleRequest,
)
from supervisor import process_range
from supervisor.config import MOST_PROCESSES, PROCESSES_ACCEPTED
from supervisor.control import paths
from supervisor.ctl import client
from supervisor.ctl.client import Client, SeveralSupervisors
from supervisor.errors import InvalidOption, OrderFailed
from supervisor.exit_codes import ExitCode
from supervisor.signals import SignalQueue


class WholeNumber(click.IntRange):
    """A whole number, refused in the words in which `run` refuses its options."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the number.

        Raises:
            InvalidOption: it is no whole number, or not in the range.
        """
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            name = param.human_readable_name if param is not None else self.name
            accepted = f"a whole number from {self.min} to {self.max}"
            raise InvalidOption(name, value, accepted) from None


CONTROL_OPTION = click.option(
    "--control",
    metavar="SOCK",
    envvar="DOCKET_SUPERVISOR_CONTROL",
    help="The supervisor's control socket, if there are several, or it is not in the usual place.",
)
#: Refuse a negative number as a number, not as an unknown option.
_NUMBERS = {"ignore_unknown_options": True}


@click.group(
    "ctl",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@CONTROL_OPTION
@click.pass_context
def ctl(context: click.Context, control: str | None) -> int:
    """Look at a running supervisor, and tell it what to do.

    Without --control it is the only one of this user that runs. Ends with 0 if it was done, with 1
    if it was refused or failed, with 2 if there is no such supervisor.
    """
    signal_queue = context.find_object(SignalQueue)
    if signal_queue is not None:
        give_back_signals(signal_queue)
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
    return ExitCode.USAGE  # used only then; otherwise click returns the command's own result


@ctl.command("status")
@CONTROL_OPTION
@click.option("--json", "as_json", is_flag=True, help="The JSON of /status instead of a table.")
@click.option("--watch", is_flag=True, help="Again each second, until Ctrl-C.")
@click.pass_context
def status(context: click.Context, control: str | None, *, as_json: bool, watch: bool) -> None:
    """Show the pool: its workers, what they run, what they have done."""
    path = control_path(context, control)
    # Not at the top: it imports rich, which would keep the other commands waiting.
    command = importlib.import_module("supervisor.ctl.show_status")
    (command.watch if watch else command.show)(path, as_json=as_json)


@ctl.command("scale", context_settings=_NUMBERS)
@CONTROL_OPTION
@click.argument("size", metavar="N|LEAST:MOST")
@click.pass_context
def scale(context: click.Context, control: str | None, size: str) -> None:
    """Make it a pool of N processes, from now on.

    The size of a pool that followed its work stays at N. LEAST:MOST has it follow the work between
    these two.
    """
    request = _scale_request(size)
    _send(control_path(context, control), request)


@ctl.command("reload")
@CONTROL_OPTION
@click.option("--no-wait", is_flag=True, help="Return at once; `status` tells how it goes.")
@click.pass_context
def reload(context: click.Context, control: str | None, *, no_wait: bool) -> None:
    """Import the code anew and replace every worker, successor first.

    Waits until that has ended. Code that does not import changes nothing: the workers that run
    stay, and the reason is told with exit code 1.
    """
    path = control_path(context, control)
    if no_wait:
        _send(path, ReloadRequest(wait=False))
    else:
        _send_and_wait(path, ReloadRequest(), "the reload")


@ctl.command("drain")
@CONTROL_OPTION
@click.option("--wait", is_flag=True, help="Return when the supervisor has ended.")
@click.pass_context
def drain(context: click.Context, control: str | None, *, wait: bool) -> None:
    """Claim no more tasks, finish what runs, and end: the same as TERM."""
    path = control_path(context, control)
    if not wait:
        _send(path, DrainRequest())
        return
    with Client(path) as client, _Waiting("the drain"):
        click.echo(client.ask(DrainRequest(wait=True)).text)
        client.wait_for_end()
    click.echo("the supervisor has ended")


@ctl.command("restart", context_settings=_NUMBERS)
@CONTROL_OPTION
@click.argument("slot", type=WholeNumber(1, MOST_PROCESSES))
@click.pass_context
def restart(context: click.Context, control: str | None, slot: int) -> None:
    """Replace the worker in SLOT, successor first, and wait for it."""
    _send_and_wait(control_path(context, control), RestartRequest(slot), "the restart")


@ctl.command("dump")
@CONTROL_OPTION
@click.pass_context
def dump(context: click.Context, control: str | None) -> None:
    """Write the stacks and tasks of every worker to the log."""
    _send(control_path(context, control), DumpRequest())


def _scale_request(size: str) -> ScaleRequest | ScaleBetweenRequest:
    """Read the number, or the two, as `run` does."""
    try:
        read = process_range.parse(size)
    except ValueError:
        raise InvalidOption("N", size, PROCESSES_ACCEPTED) from None
    least, most = (read, read) if isinstance(read, int) else (read.least, read.most)
    if not 1 <= least <= most <= MOST_PROCESSES:
        raise InvalidOption("N", size, PROCESSES_ACCEPTED)
    return ScaleRequest(read) if isinstance(read, int) else ScaleBetweenRequest(least, most)


def give_back_signals(signal_queue: SignalQueue) -> None:
    """Restore the default signal handlers: Ctrl-C ends an interactive program at once."""
    signal_queue.remove()
    received = [caught.number for caught in signal_queue.take()]
    signal_queue.close()
    if signal.SIGINT in received or signal.SIGTERM in received:
        raise click.Abort


def control_path(context: click.Context, control: str | None) -> Path:
    """Find the control socket: --control of the command, or of ctl, or the only one there is."""
    given = control or (context.parent.params.get("control") if context.parent else None)
    if given:
        return paths.given_path(given)
    try:
        return client.find(os.environ)
    except SeveralSupervisors as error:
        for path in error.paths:
            click.echo(f"  {path}", err=True)
        raise


def _send(path: Path, request: Request) -> None:
    with Client(path) as client:
        click.echo(client.ask(request).text)


def _send_and_wait(path: Path, request: Request, operation: str) -> None:
    with Client(path) as client, _Waiting(operation):
        click.echo(client.ask(request, timeout_seconds=None).text)


class _Waiting:
    """Tell the user that `operation` goes on even if the waiting for it is interrupted."""

    def __init__(self, operation: str) -> None:
        self._operation = operation

    def __enter__(self) -> None:
        if sys.stderr.isatty():
            click.echo(f"waiting; Ctrl-C ends the waiting, and {self._operation} goes on", err=True)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            raise OrderFailed(f"interrupted; {self._operation} goes on") from None
