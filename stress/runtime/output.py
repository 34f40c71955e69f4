"""What the programs print of their reports: tables as they come, or one record at the end."""

import datetime
import json
import sys
from collections.abc import Iterable
from typing import Any

import click
from rich.console import Console

from stress.bench.report import machine
from stress.runtime.report import Report

#: Columns of a table that goes to a file.
PLAIN_WIDTH = 120


def published(reports: Iterable[Report], *, as_json: bool) -> bool:
    """Print reports, each when it is there; whether all of them reached what must be reached.

    Arguments:
        reports: may measure while they are iterated.
        as_json: a record of all, instead of the tables.
    """
    told: list[Report] = []
    for report in reports:
        told.append(report)
        if not as_json:
            report.show(Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH))
    if as_json:
        click.echo(json.dumps(record(told), indent=2))
    else:
        click.echo("measured on " + ", ".join(f"{k} {v}" for k, v in machine().items()))
    return not any(report.missed for report in told)


def record(reports: list[Report]) -> dict[str, Any]:
    """For programs: all samples, the machine, and whether everything was reached."""
    return {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "scenarios": [report.record() for report in reports],
        "missed": [figure.name for report in reports for figure in report.missed],
    }
