"""Fixtures of the whole suite: one event loop library, one real server, one name a test."""

import os
from collections.abc import Iterator
from uuid import uuid4

import pytest

from docket.store import embedded
from tests.support.servers import old_server


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Every test marked `anyio` runs on asyncio: the library supports nothing else."""
    return "asyncio"


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a real Valkey of this test process, started on first use and ended with it.

    With DOCKET_TEST_SERVER=redis-6.2 in the environment it is that older server instead.
    """
    if os.environ.get("DOCKET_TEST_SERVER") == "redis-6.2":
        with old_server() as url:
            yield url
        return
    running = embedded.start(f"memory://tests-{uuid4().hex}")
    try:
        yield running.url
    finally:
        running.stop()


@pytest.fixture
def docket_name() -> str:
    """A docket name that no other test uses, so that tests share a server and nothing else."""
    return f"test-{uuid4().hex}"
