"""A docket whose serializer is msgpack."""

from collections.abc import AsyncGenerator

import pytest

from docket import Docket


@pytest.fixture
async def docket(server: str, docket_name: str) -> AsyncGenerator[Docket]:
    async with Docket(docket_name, server, serializer="msgpack") as docket:
        yield docket
