"""The layers of the packages, as the tables of docs/architecture.md give them.

The document is the only place that says them: a table below a heading `### PACKAGE`, bottom row
first, the modules and folders of a row in backticks in its second column.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ARCHITECTURE = Path(__file__).parent.parent.parent / "docs/architecture.md"

_SECTION = re.compile(r"^### `([a-z_]+)`.*?\n(.*?)(?=^#|\Z)", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\| \d+ \| ([^|]*) \|", re.MULTILINE)
_NAME = re.compile(r"`([a-z_/]+)`")


@dataclass(frozen=True)
class LayerTable:
    """The rows of each package, bottom first.

    Attributes:
        rows: for each package, the dotted names of the modules and folders of each row.
    """

    rows: dict[str, tuple[tuple[str, ...], ...]]

    def row_of(self, module: str) -> int | None:
        """The row of a module: that of its longest prefix in the table.

        The package itself and its `__main__` stand above all rows; what no row names has none.
        """
        package = module.partition(".")[0]
        rows = self.rows[package]
        if module in {package, f"{package}.__main__"}:
            return len(rows)
        fitting = [
            (len(name), number)
            for number, names in enumerate(rows)
            for name in names
            if module == name or module.startswith(f"{name}.")
        ]
        return max(fitting)[1] if fitting else None

    def names(self) -> list[str]:
        """Every module and folder that a row names."""
        return [name for rows in self.rows.values() for names in rows for name in names]


def parse_layers(document: str) -> LayerTable:
    """Read the tables out of the text of the document."""
    return LayerTable(
        {
            package: tuple(
                tuple(
                    f"{package}.{name.strip('/').replace('/', '.')}" for name in _NAME.findall(row)
                )
                for row in _ROW.findall(section)
            )
            for package, section in _SECTION.findall(document)
        }
    )


LAYERS = parse_layers(ARCHITECTURE.read_text("utf-8"))
