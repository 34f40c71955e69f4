"""A store whose tasks have limits, on the server of this test process."""

from collections.abc import AsyncGenerator

import pytest

from tests.support.limits import LimitedStore
from tests.support.store import store_at


@pytest.fixture
async def limited(server: str, docket_name: str) -> AsyncGenerator[LimitedStore]:
    async with store_at(server, docket_name) as store:
        await store.register("a", "b")
        yield LimitedStore(store)
