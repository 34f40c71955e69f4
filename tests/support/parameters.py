"""Parameters of a test of which some are left to `tox -m full`: the promise is one, they are many.

What stays in every run is what takes another way through the code; what is left is the same way
again, with another server, another signal, another moment.
"""

from collections.abc import Container, Iterable
from typing import Any

import pytest


def in_full(*values: Any) -> list[Any]:
    """Mark values of one argument as left to `tox -m full`."""
    return [pytest.param(value, marks=pytest.mark.full) for value in values]


def sets_in_full(*sets: tuple[Any, ...]) -> list[Any]:
    """Mark values of several arguments as left to `tox -m full`."""
    return [pytest.param(*values, marks=pytest.mark.full) for values in sets]


def rest_in_full(values: Iterable[Any], in_every_run: Container[Any]) -> list[Any]:
    """Mark those values as left to `tox -m full` that are not among the chosen ones."""
    return [value if value in in_every_run else in_full(value)[0] for value in values]
