"""An open docket for a test, on the real server of the test process."""

from collections.abc import AsyncGenerator

import pytest

from docket import Docket


@pytest.fixture
async def docket(server: str, docket_name: str) -> AsyncGenerator[Docket]:
    async with Docket(docket_name, server) as docket:
        yield docket
