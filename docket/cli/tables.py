"""Tables on stdout: with rich on a terminal, plain columns for a pipe or a file."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import click
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from docket_display.printable import in_json, in_view, on_one_line

#: A text, or several.
Cell: TypeAlias = str | list[str]


@dataclass
class Table:
    """Rows of text under headings.

    title: the lines above the table.
    rows: texts, or lists of texts: one a line on a terminal, side by side elsewhere. What is not
        printable in them is escaped.
    right: the headings of right-aligned columns.
    """

    title: Sequence[str]
    headings: Sequence[str]
    right: frozenset[str] = frozenset()
    rows: list[Sequence[Cell]] = field(default_factory=list[Sequence[Cell]])


def is_terminal() -> bool:
    """Return whether stdout is a terminal."""
    return sys.stdout.isatty()


def show(table: Table) -> None:
    """Print a table."""
    if is_terminal():
        Console().print(drawn(table))
    else:
        click.echo("\n".join([*map(on_one_line, table.title), *_columns(table)]))


#: Adds `--json`; the command gets it as `as_json`.
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def show_json(document: object) -> None:
    """Print a document as one line of JSON."""
    click.echo(in_json(json.dumps(document, ensure_ascii=False)))


def drawn(table: Table) -> RichTable:
    """Draw a table for a terminal."""
    shown = RichTable(title=Text("\n".join(map(on_one_line, table.title))))
    for heading in table.headings:
        # A key is only useful as a whole, so it is wrapped and never cut.
        justify = "right" if heading in table.right else "left"
        shown.add_column(heading, justify=justify, overflow="fold")
    for row in table.rows:
        # As Text, since a name may contain rich markup.
        shown.add_row(*(Text(_shown(cell, "\n")) for cell in row))
    return shown


def _columns(table: Table) -> list[str]:
    lines = [table.headings, *([_shown(cell, ", ") for cell in row] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if heading in table.right else cell.ljust(width)
            for cell, width, heading in zip(line, widths, table.headings, strict=True)
        ).rstrip()
        for line in lines
    ]


def _shown(cell: Cell, between: str) -> str:
    return between.join(map(in_view, [cell] if isinstance(cell, str) else cell))
