"""Fixtures of the tests of metrics."""

import pytest

from docket.instrumentation.process_registry import PROCESS_REGISTRY


@pytest.fixture(autouse=True)
def nothing_counted_before() -> None:
    """Forget the workers and producers of earlier tests: hundreds made each scrape take long."""
    for kept in ("_ended", "_producers"):
        vars(PROCESS_REGISTRY)[kept].clear()
