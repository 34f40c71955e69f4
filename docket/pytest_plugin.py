"""Fixtures for pytest: a clean docket and a worker for each test.

A `conftest.py` loads them by `pytest_plugins = ["docket.pytest_plugin"]`. They are not loaded by
themselves: pytest would import the library in every environment that has it, used or not.

They are coroutine functions, which pytest itself cannot call: anyio's plugin does for tests that
are marked `anyio`, pytest-asyncio does in its mode `auto`.
"""

from collections.abc import AsyncGenerator

import pytest

from docket.docket import Docket
from docket.testing import clean_docket
from docket.worker import Worker


@pytest.fixture(name="docket")
async def docket_fixture() -> AsyncGenerator[Docket]:
    """An open docket that no other test uses, on the server of `memory://`."""
    async with clean_docket() as docket:
        yield docket


@pytest.fixture(name="worker")
async def worker_fixture(docket: Docket) -> AsyncGenerator[Worker]:
    """A worker of the test's docket, which runs nothing until the test has it run."""
    async with Worker(docket) as worker:
        yield worker
