"""The commands of `docket-supervisor`; `run` is the default."""

import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import click

from docket_display import printable
from supervisor.cli import option_table
from supervisor.config import SupervisorConfig
from supervisor.errors import SupervisorError
from supervisor.exit_codes import ExitCode
from supervisor.signals import SignalQueue

PROGRAM = "docket-supervisor"

#: Commands in modules of their own, which are imported only when they are used.
LAZY_COMMANDS = {
    "ctl": (
        "supervisor.ctl.commands",
        "ctl",
        "Look at a running supervisor, and tell it what to do.",
    ),
    "web": (
        "supervisor.dashboard.command",
        "web",
        "Show dockets and their pool in the browser.",
    ),
    "demo": ("supervisor.demo.command", "demo", "The main job on real input, in one minute."),
}


def main(signal_queue: SignalQueue, arguments: list[str] | None = None) -> NoReturn:
    """Run the command and exit with its code; a user's mistake is reported in one line.

    Arguments:
        signal_queue: has the handlers that the program installed before it imported this.
        arguments: those after the program's name; None: those of this process.
    """
    try:
        result = docket_supervisor.main(
            arguments, prog_name=PROGRAM, standalone_mode=False, obj=signal_queue
        )
    except click.ClickException as error:
        _end(ExitCode.USAGE, error.format_message())
    except click.Abort:
        _end(ExitCode.STOPPED, "interrupted")
    except SupervisorError as error:
        _end(error.exit_code, str(error))
    sys.exit(result if isinstance(result, int) else ExitCode.STOPPED)


def _end(code: ExitCode, reason: str) -> NoReturn:
    click.echo(f"{PROGRAM}: {printable.on_one_line(' '.join(reason.split()))}", err=True)
    sys.exit(code)


class Commands(click.Group):
    """A group whose default command is `run`, and which imports heavy commands when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names for --help, those not yet imported included."""
        return sorted({*super().list_commands(ctx), *LAZY_COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, and import it if it is a lazy one."""
        if cmd_name in LAZY_COMMANDS:
            module, attribute, _ = LAZY_COMMANDS[cmd_name]
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        return super().get_command(ctx, cmd_name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take options that are not those of the group for options of `run`."""
        own = {"--help", "-h", "--version"}
        if not args or (args[0].startswith("-") and args[0] not in own):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of --help without importing the commands."""
        rows = [(name, command.get_short_help_str()) for name, command in self.commands.items()]
        rows += [(name, summary) for name, (_, _, summary) in LAZY_COMMANDS.items()]
        with formatter.section("Commands"):
            formatter.write_dl(sorted(rows))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=PROGRAM, prog_name=PROGRAM)
def docket_supervisor() -> None:
    """Keep a pool of docket workers alive, full and observable.

    Without the name of a command: `run`, whose options `docket-supervisor run --help` lists.
    """


def _default_of(option: option_table.Option) -> str:
    """The default as a user would write it; empty where the help of the option has it already."""
    match {each.name: each.default for each in fields(SupervisorConfig)}[option.field]:
        case bool() as on:
            written = "on" if on else "off"
        case float() as share:
            written = f"{share:.0%}"
        case timedelta() as duration:
            seconds = duration.total_seconds()
            written = f"{seconds:g}s" if seconds >= 1 else f"{seconds * 1000:g}ms"
            written = f"{seconds / 60:g}m" if seconds > 60 else written
        case int() | str() as text:
            written = str(text)
        case (str() as only,):
            written = only
        case _:
            return ""
    return f"[default: {written}] "


def _run_parameters() -> list[click.Parameter]:
    parameters: list[click.Parameter] = []
    for option in option_table.OPTIONS:
        name, fallback = f"--{option.name}", "(also " + ", ".join(option.variables) + ")"
        help_text = f"{option.help} {_default_of(option)}{fallback}"
        if option.switch:
            switches = [f"{name}/--no-{option.name}", option.field]
            parameters.append(click.Option(switches, default=None, help=help_text))
        else:
            parameters.append(
                click.Option(
                    [name, option.field],
                    metavar=option.metavar,
                    multiple=option.repeatable,
                    help=help_text,
                )
            )
    file = click.Option(
        ["--config"],
        metavar="FILE",
        help="The same options, as keys of a TOML file. (also DOCKET_SUPERVISOR_CONFIG)",
    )
    return [file, *parameters]


def configure(values: Mapping[str, Any], environment: Mapping[str, str]) -> SupervisorConfig:
    """Build the config of a run.

    Arguments:
        values: of the command line, by field.
        environment: usually os.environ.

    Raises:
        ConfigurationError: a value of one of the sources cannot be used.
    """
    file = values.get("config") or environment.get("DOCKET_SUPERVISOR_CONFIG")
    return option_table.build(values, environment, Path(file) if file else None)


@click.pass_context
def _run(context: click.Context, **values: Any) -> int:
    """Run a pool of workers until told to stop."""
    config = configure(values, os.environ)
    # Not at the top: `ctl` is to start at once, and does not need the runtime.
    runtime = importlib.import_module("supervisor.supervisor").Supervisor
    code: int = runtime(config, signal_queue=context.find_object(SignalQueue)).run()
    return code


docket_supervisor.add_command(
    click.Command("run", callback=_run, params=_run_parameters(), help=_run.__doc__)
)
