"""A server to run on: that of memory://, and a Valkey of its own as in production."""

from collections.abc import Iterator

import pytest

from tests.support.servers import machinery, valkey


@pytest.fixture(params=["memory", "server"])
def url(request: pytest.FixtureRequest, docket_name: str) -> Iterator[str]:
    if request.param == "memory":
        yield f"memory://{docket_name}"
        return
    with machinery() as machines:
        yield f"redis://127.0.0.1:{machines.server(valkey()).port}/0"
