"""Fixtures of the program's tests."""

import socket
from collections.abc import AsyncGenerator, Iterator

import pytest

from docket import Docket
from tests.support import cli_tasks
from tests.support.dockets import knowing


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A loopback port that is taken, and on which nobody listens, while the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
async def docket(server: str, docket_name: str) -> AsyncGenerator[Docket]:
    """An open docket that knows the tasks of the programs."""
    async with knowing(Docket(name=docket_name, url=server), cli_tasks.tasks) as docket:
        yield docket


@pytest.fixture
def on(docket: Docket) -> tuple[str, ...]:
    """The options that name this docket."""
    return ("--docket", docket.name, "--url", docket.url)
