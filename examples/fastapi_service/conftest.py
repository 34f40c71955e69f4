from collections.abc import AsyncGenerator

import httpx
import pytest
from docket import Docket

from app import app, docket_of_the_app

pytest_plugins = ["docket.pytest_plugin"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def client(docket: Docket) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of the app, whose docket is the clean one of the test."""
    app.dependency_overrides[docket_of_the_app] = lambda: docket
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client
    app.dependency_overrides.clear()
