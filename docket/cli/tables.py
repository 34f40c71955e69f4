"""Tables on stdout: with rich on a terminal, plain columns for a pipe or a file."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import click
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text


@dataclass
class Table:
    """Rows of text under headings.

    title: the lines above the table.
    right: the headings of right-aligned columns.
    """

    title: Sequence[str]
    headings: Sequence[str]
    right: frozenset[str] = frozenset()
    rows: list[Sequence[str]] = field(default_factory=list[Sequence[str]])


def is_terminal() -> bool:
    """Return whether stdout is a terminal."""
    return sys.stdout.isatty()


def show(table: Table) -> None:
    """Print a table."""
    if is_terminal():
        Console().print(_rich(table))
    else:
        click.echo("\n".join([*table.title, *_columns(table)]))


def _rich(table: Table) -> RichTable:
    shown = RichTable(title=Text("\n".join(table.title)))
    for heading in table.headings:
        # A key is only useful as a whole, so it is wrapped and never cut.
        justify = "right" if heading in table.right else "left"
        shown.add_column(heading, justify=justify, overflow="fold")
    for row in table.rows:
        # As Text, since a name may contain rich markup.
        shown.add_row(*(Text(cell) for cell in row))
    return shown


def _columns(table: Table) -> list[str]:
    lines = [table.headings, *(_on_one_line(row) for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if heading in table.right else cell.ljust(width)
            for cell, width, heading in zip(line, widths, table.headings, strict=True)
        ).rstrip()
        for line in lines
    ]


def _on_one_line(row: Sequence[str]) -> list[str]:
    # A key may contain line breaks and other control characters.
    return [cell if cell.isprintable() else repr(cell) for cell in row]
