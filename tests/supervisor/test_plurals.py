"""Log lines count as people do."""

import pytest

from supervisor.plurals import counted


@pytest.mark.parametrize(("number", "said"), [(0, "0 workers"), (1, "1 worker"), (2, "2 workers")])
def test_only_one_is_singular(number: int, said: str) -> None:
    assert counted(number, "worker") == said
