"""Log lines count as people do."""

import pytest

from supervisor.text.plurals import pluralize


@pytest.mark.parametrize(("number", "said"), [(0, "0 workers"), (1, "1 worker"), (2, "2 workers")])
def test_only_one_is_singular(number: int, said: str) -> None:
    assert pluralize(number, "worker") == said


def test_a_plural_of_its_own_is_given() -> None:
    assert pluralize(1, "process", "processes") == "1 process"
    assert pluralize(3, "process", "processes") == "3 processes"
