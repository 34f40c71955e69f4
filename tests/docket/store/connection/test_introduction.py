"""The name and version that redis-py tells the server."""

from typing import Any, NoReturn

import pytest
import redis

from docket.store.connection.endpoint import Endpoint
from docket.store.connection.introduction import introduced
from docket.store.connection.urls import validate_url

pytestmark = pytest.mark.anyio

URL = "redis://localhost:1/0"


@pytest.fixture
def no_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """The metadata of installed packages must not be read."""

    def refuse(name: str) -> NoReturn:
        raise AssertionError(f"the metadata of {name} is read")

    monkeypatch.setattr("redis.utils.metadata.version", refuse)


@pytest.mark.usefixtures("no_metadata")
def test_no_connection_looks_up_the_version_of_redis_py() -> None:
    validate_url(URL)
    endpoint = Endpoint(URL)

    endpoint.connection()
    endpoint.direct_connection()


async def test_the_server_is_told_the_version_of_redis_py(server: str) -> None:
    connection: Any = Endpoint(server).connection()
    await connection.connect()
    try:
        await connection.send_command("CLIENT", "INFO")
        told = (await connection.read_response()).decode()
    finally:
        await connection.disconnect()

    # Servers before 7.2 keep no such thing.
    assert "lib-ver=" not in told or f"lib-ver={redis.__version__} " in f"{told} "


@pytest.mark.parametrize("option", ["lib_name", "lib_version", "driver_info"])
def test_a_url_that_introduces_its_connections_otherwise_is_left_alone(option: str) -> None:
    assert introduced({option: "x"}) == {option: "x"}
