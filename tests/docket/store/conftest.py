"""Fixtures of the store's tests: the store of one docket on the server of this test process."""

from collections.abc import AsyncGenerator

import pytest

from tests.support.store import Store, store_at


@pytest.fixture
async def store(server: str, docket_name: str) -> AsyncGenerator[Store]:
    async with store_at(server, docket_name) as opened:
        yield opened
