"""docs/compatibility.md: each public name is in it, in the code, and in the test beside it."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.documented import ATTRIBUTES, COMMANDS, NAMES, SIGNATURES

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/compatibility.md").read_text("utf-8")
ROWS = re.findall(r"^\| `(docket[^`]*)` \| `([^`]+)` \|$", PAGE, re.MULTILINE)

#: Names that can be had from `docket` itself are written so.
PACKAGE = set(NAMES["docket"].split())


def test_the_table_has_every_documented_name_and_command_once() -> None:
    names = [name for name, _ in ROWS]

    assert sorted(names) == sorted({*names})
    assert set(names) == _documented() | {f"docket {command}" for command in COMMANDS}


@pytest.mark.parametrize(("name", "path"), [row for row in ROWS if " " not in row[0]])
def test_a_name_of_the_table_is_there_and_its_test_has_it(name: str, path: str) -> None:
    assert _is_there(name), f"{name} is nowhere"
    assert re.search(rf"\b{name.rpartition('.')[2]}\b", (ROOT / path).read_text("utf-8"))


@pytest.mark.parametrize(("name", "path"), [row for row in ROWS if " " in row[0]])
def test_a_command_of_the_table_is_run_by_its_test(name: str, path: str) -> None:
    text = (ROOT / path).read_text("utf-8")

    assert all(f'"{word}"' in text for word in name.split()[1:])


def test_the_reference_shows_every_documented_name() -> None:
    shown = set[str]()
    for page in sorted((ROOT / "docs/reference").glob("*.md")):
        for name, members in _directives(page.read_text("utf-8")):
            shown |= {name} | {f"{name}.{member}" for member in members}
    # What a class has as attributes stands in its own docstring.
    attributes = {f"{owner}.{name}" for owner, text in ATTRIBUTES.items() for name in text.split()}

    missing = {
        name
        for name in _documented() - shown
        if not any(name.endswith(f".{attribute}") for attribute in attributes)
        and not _is_of_a_module_that_is_shown(name, shown)
    }
    # Neither strings nor the instruments of OpenTelemetry have docstrings.
    instruments = {
        f"docket.instrumentation.{name}"
        for name in NAMES["docket.instrumentation"].split()
        if name.isupper()
    }
    assert missing == {"docket.__version__", *instruments}


def _directives(page: str) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = []
    for block in re.split(r"^::: ", page, flags=re.MULTILINE)[1:]:
        members = re.search(r"members: \[([^]]*)\]", block)
        words = re.findall(r"\w+", members[1]) if members else []
        found.append((block.split()[0], words))
    return found


def _is_of_a_module_that_is_shown(name: str, shown: set[str]) -> bool:
    return name.rpartition(".")[0] in shown & {"docket.testing", "docket.tasks"}


def _documented() -> set[str]:
    found = {_full(module, name) for module, names in NAMES.items() for name in names.split()}
    for module, lines in SIGNATURES.items():
        for path in re.findall(r"^(?:async )?([\w.]+)\(", lines, re.MULTILINE):
            if "__" not in path:
                found.add(_full(module, path))
    for owner, names in ATTRIBUTES.items():
        module = next(m for m, exported in NAMES.items() if owner in exported.split())
        found |= {_full(module, f"{owner}.{name}") for name in names.split()}
    return found


def _full(module: str, path: str) -> str:
    return f"{'docket' if path.partition('.')[0] in PACKAGE else module}.{path}"


def _is_there(name: str) -> bool:
    steps = name.split(".")
    found: Any = importlib.import_module(steps.pop(0))
    while steps:
        step = steps.pop(0)
        if not hasattr(found, step):
            # An attribute that instances have; tests/docket/test_signatures.py looks at those.
            return not steps and step in ATTRIBUTES.get(name.split(".")[-2], "").split()
        found = getattr(found, step)
    return True
