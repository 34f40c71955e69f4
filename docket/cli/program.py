"""The program `docket` and its commands. A new command is a file of its own and a line here."""

import click

from docket.cli.acts import cancel, retry, run
from docket.cli.clear import clear
from docket.cli.executions import list_executions, show_execution
from docket.cli.pauses import pause, pauses, resume
from docket.cli.snapshot import snapshot
from docket.cli.stats import stats
from docket.cli.strikes import restore, strike, strikes
from docket.cli.tasks import tasks
from docket.cli.version import version
from docket.cli.watch import watch
from docket.cli.web import web, web_user
from docket.cli.worker import worker
from docket.cli.workers import workers


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Background tasks for asyncio on Redis or Valkey."""


for command in (
    *(version, worker, strike, restore, strikes, pause, resume, pauses),
    *(clear, snapshot, stats, watch, tasks, workers),
    *(list_executions, show_execution, retry, run, cancel),
    *(web, web_user),
):
    main.add_command(command)
