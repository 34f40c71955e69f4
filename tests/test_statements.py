"""docs/behaviours.md: each behaviour has a number, and a test that is marked with it."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/behaviours.md").read_text("utf-8")
#: The number, and the files of its tests.
ROWS = [
    (int(number), re.findall(r"`(tests/[^`]+)`", files))
    for number, files in re.findall(r"^\| (\d+) \|.*\| ([^|]+) \|$", PAGE, re.MULTILINE)
]
NUMBERS = range(1, 56)


def marked_numbers(source: str) -> set[int]:
    """The N of every `pytest.mark.statement(N)` in a test's source."""
    return {
        argument.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.statement"
        for argument in node.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, int)
    }


def test_each_behaviour_has_one_row_in_order() -> None:
    assert [number for number, _ in ROWS] == list(NUMBERS)


@pytest.mark.parametrize(("number", "files"), ROWS, ids=[str(number) for number, _ in ROWS])
def test_the_files_of_a_row_have_tests_that_are_marked_with_its_number(
    number: int, files: list[str]
) -> None:
    assert files
    for file in files:
        assert number in marked_numbers((ROOT / file).read_text("utf-8")), file


def test_no_test_is_marked_with_another_number() -> None:
    found: defaultdict[int, list[str]] = defaultdict(list)
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for number in marked_numbers(file.read_text("utf-8")):
            found[number].append(str(file.relative_to(ROOT)))

    assert {n: files for n, files in found.items() if n not in NUMBERS} == {}


def test_a_number_is_found_wherever_a_marker_may_stand() -> None:
    assert marked_numbers("pytestmark = [pytest.mark.anyio, pytest.mark.statement(3)]") == {3}
    assert marked_numbers("pytest.param('x', marks=pytest.mark.statement(4))") == {4}
    assert marked_numbers("# pytest.mark.statement(5)") == set()
