"""The projects of examples/: what they need is there for their tests, and each has its page."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.documents import ROOT, blocks, example_projects, pages

README = ROOT / "examples/README.md"


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=~! ]", each)[0] for each in requirements}


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("project", example_projects(), ids=lambda project: project.name)
def test_what_a_project_needs_is_installed_for_its_tests(project: Path) -> None:
    declared = _read(project / "pyproject.toml")
    needed = _names(declared["project"]["dependencies"])
    for_tests = _names(declared.get("dependency-groups", {}).get("test", []))

    group = _names(_read(ROOT / "pyproject.toml")["dependency-groups"]["examples"])
    assert (needed - {"docket-supervisor"}) | for_tests <= group


def test_every_project_is_listed_with_a_page_that_shows_its_code() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| \[.+\]\(\.\./(.+)\) \|$", README.read_text("utf-8"), re.MULTILINE
    )

    assert {name for name, _ in rows} == {project.name for project in example_projects()}
    for name, page in rows:
        assert f"examples/{name}" in (ROOT / page).read_text("utf-8"), page


def test_every_file_that_a_page_shows_is_a_file_of_a_project() -> None:
    shown = {block.source for page in pages() for block in blocks(page, "python") if block.source}

    assert len(shown) >= 10
    assert [path for path in shown if not (ROOT / path).is_file()] == []
