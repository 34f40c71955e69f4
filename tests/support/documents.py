"""The documents of the project as values: pages, and the blocks of code in them."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

#: Words by which a shell's command line is cut into commands.
SEPARATORS = frozenset({"&&", "||", "|", ";", "&"})


@dataclass(frozen=True)
class Block:
    """One fenced block: where it stands, its language, its text."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def filename(self) -> str:
        """What the block calls itself in its first line (`# name.py`), or a name by its line."""
        first = self.text.partition("\n")[0]
        return first[2:] if first.startswith("# ") and first.endswith(".py") else self._numbered

    @property
    def source(self) -> str:
        """The file of examples/ that the block is a part of (`# examples/p/name.py`), or nothing.

        Such a block is not run: the file is, by the tests of its project.
        """
        first = self.text.partition("\n")[0]
        return first[2:] if first.startswith("# examples/") else ""

    @property
    def _numbered(self) -> str:
        return f"block_{self.line}.py"

    @property
    def padded(self) -> str:
        """The text at its line of the page, so that a traceback names the page's line."""
        return "\n" * self.line + self.text


def pages() -> list[Path]:
    """Every page that a user or a contributor reads."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def example_projects() -> list[Path]:
    """The folders of the projects in examples/."""
    return sorted(each.parent for each in (ROOT / "examples").glob("*/pyproject.toml"))


def blocks(page: Path, language: str) -> list[Block]:
    """The blocks of `language` on a page, in order."""
    return [block for block in _fenced(page) if block.language == language]


def _fenced(page: Path) -> Iterator[Block]:
    start, language, lines = 0, "", list[str]()
    for number, line in enumerate(page.read_text("utf-8").splitlines(), start=1):
        if not line.startswith("```"):
            lines.append(line)
        elif start:
            yield Block(page, start, language, "\n".join(lines) + "\n")
            start = 0
        else:
            start, language, lines = number, line[3:].strip(), []
    if start:
        raise ValueError(f"{page}: the block of line {start} is not closed")


def commands(block: Block) -> list[list[str]]:
    """The commands of a shell block, each as its words."""
    found: list[list[str]] = []
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        command: list[str] = []
        for word in [*words, ";"]:
            if word in SEPARATORS:
                found += [command] if command else []
                command = []
            else:
                command.append(word)
    return found
