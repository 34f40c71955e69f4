"""What the tests of the log share: a pipe."""

import os
from collections.abc import Iterator

import pytest

from tests.support.processes import Pipe


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Both ends of a pipe, closed with the test."""
    made = Pipe(*os.pipe())
    yield made
    made.close()
