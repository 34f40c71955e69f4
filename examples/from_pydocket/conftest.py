import pytest

pytest_plugins = ["docket.pytest_plugin"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
