"""Tables on stdout: with rich on a terminal, plain columns for a pipe or a file.

On a terminal a table is for people, and fits its width. Elsewhere programs read it: every column is
there, and every text as a whole.
"""

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import click
from rich.console import Console, Group
from rich.table import Table as RichTable
from rich.text import Text

from docket.cli.layout import Column, fit
from docket_display.printable import in_json, in_view, on_one_line
from docket_display.shortening import shorten
from docket_display.wrapping import wrap

#: A text, or several.
Cell: TypeAlias = str | list[str]


@dataclass
class Table:
    """Rows of text under headings.

    title: the lines above the table.
    rows: texts, or lists of texts: one a line on a terminal, side by side elsewhere. What is not
        printable in them is escaped.
    right: the headings of right-aligned columns.
    names: the headings of the columns of names (keys, functions, workers), which a terminal without
        room for them shows without their middle.
    expendable: the headings of the columns that a narrow terminal does without, the first first.
    """

    title: Sequence[str]
    headings: Sequence[str]
    right: frozenset[str] = frozenset()
    rows: list[Sequence[Cell]] = field(default_factory=list[Sequence[Cell]])
    names: frozenset[str] = frozenset()
    expendable: Sequence[str] = ()


def is_terminal() -> bool:
    """Return whether stdout is a terminal."""
    return sys.stdout.isatty()


def terminal() -> Console:
    """Make the console of stdout, which is a terminal."""
    console = Console()
    if console.is_dumb_terminal:
        # Of a dumb one rich does not ask the size, and takes it for 80 columns.
        columns, lines = shutil.get_terminal_size()
        return Console(width=columns, height=lines)
    return console


def show(table: Table) -> None:
    """Print a table."""
    if is_terminal():
        console = terminal()
        console.print(drawn(table, console.width))
    else:
        click.echo("\n".join([*map(on_one_line, table.title), *_columns(table)]))


def show_lines(lines: Iterable[str]) -> None:
    """Print lines; on a terminal those that are too long wrap between their words, indented."""
    if not is_terminal():
        click.echo("\n".join(lines))
        return
    width = terminal().width
    click.echo("\n".join(wrapped for line in lines for wrapped in wrap(line, width)))


#: Adds `--json`; the command gets it as `as_json`.
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def show_json(document: object) -> None:
    """Print a document as one line of JSON."""
    click.echo(in_json(json.dumps(document, ensure_ascii=False)))


def drawn(table: Table, width: int) -> Group:
    """Draw a table for a terminal of `width` columns, below its title."""
    lines = [[_shown(cell).split("\n") for cell in row] for row in table.rows]
    columns = [
        Column(heading, [line for row in lines for line in row[at]], heading in table.names)
        for at, heading in enumerate(table.headings)
    ]
    widths = fit(columns, table.expendable, width)
    framed = RichTable()
    for name, room in widths.items():
        justify = "right" if name in table.right else "left"
        framed.add_column(name, justify=justify, width=room, overflow="fold")
    for row in lines:
        cells = zip(columns, row, strict=True)
        shown = [(column, cell) for column, cell in cells if column.heading in widths]
        framed.add_row(*(_fitted(cell, column, widths[column.heading]) for column, cell in shown))
    title = [Text(on_one_line(line)) for line in table.title]
    missing = [c.heading for c in columns if c.heading not in widths and not c.is_empty]
    note = [Text(f"no room for: {', '.join(missing)}", "dim")] if missing else []
    return Group(*title, framed, *note)


def _fitted(lines: list[str], column: Column, width: int) -> Text:
    # As Text, since a name may contain rich markup.
    return Text("\n".join(shorten(line, width) if column.is_names else line for line in lines))


def _columns(table: Table) -> list[str]:
    rows = [[_shown(cell).replace("\n", ", ") for cell in row] for row in table.rows]
    lines = [table.headings, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if heading in table.right else cell.ljust(width)
            for cell, width, heading in zip(line, widths, table.headings, strict=True)
        ).rstrip()
        for line in lines
    ]


def _shown(cell: Cell) -> str:
    """Return the texts of a cell on a line each; what is not printable in them is escaped."""
    return "\n".join(map(in_view, [cell] if isinstance(cell, str) else cell))
