"""Numbers with their nouns."""

import pytest

from supervisor.text.plurals import pluralize


@pytest.mark.parametrize(("number", "text"), [(0, "0 workers"), (1, "1 worker"), (2, "2 workers")])
def test_only_one_is_singular(number: int, text: str) -> None:
    assert pluralize(number, "worker") == text


def test_a_plural_of_its_own_is_given() -> None:
    assert pluralize(1, "process", "processes") == "1 process"
    assert pluralize(3, "process", "processes") == "3 processes"


def test_thousands_are_separated_on_request() -> None:
    assert pluralize(1234, "file") == "1234 files"
    assert pluralize(1234, "file", form=",") == "1,234 files"
    assert pluralize(1, "file", form=",") == "1 file"
