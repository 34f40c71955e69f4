"""A server that cannot keep what it accepted, told once."""

import logging
from uuid import uuid4

import pytest

from docket import Docket, Worker
from docket.store.embedded import embedded_server
from docket.store.server_policy import ServerPolicy, server_policy

pytestmark = pytest.mark.anyio


async def the_task() -> None: ...


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "docket.server"]


@pytest.mark.parametrize(
    ("policy", "warns"), [("noeviction", False), ("allkeys-lru", True), ("volatile-ttl", True)]
)
async def test_a_server_that_evicts_is_told_once_a_process(
    caplog: pytest.LogCaptureFixture, policy: str, warns: bool
) -> None:
    caplog.set_level(logging.INFO)
    async with Docket("orders", f"memory://{uuid4()}") as docket:
        async with docket.redis() as redis:
            await redis.config_set("maxmemory-policy", policy)
        for _ in range(2):
            async with Worker(docket) as worker:
                await worker.run_until_finished()

    warnings = [text for level, text in told(caplog) if level == "WARNING"]
    assert len(warnings) == warns
    assert all(f"maxmemory-policy {policy}" in text for text in warnings)


async def test_a_server_of_ones_own_that_appends_to_no_file_is_told_at_info(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    url = f"memory://{uuid4()}"
    async with Docket("orders", url):
        own = embedded_server.shared(url).url
        async with Docket("orders", own) as docket, Worker(docket) as worker:
            await worker.run_until_finished()
            ((level, text),) = told(caplog)
            assert level == "INFO"
            assert "appendonly no" in text

            async with docket.redis() as redis:
                await redis.config_set("appendonly", "yes")
            assert await docket.connections.server_policy() == ServerPolicy(
                "noeviction", appendonly=True
            )


async def test_a_server_that_does_not_let_us_ask_is_not_spoken_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with Docket("orders", f"memory://{uuid4()}") as docket:
        async with docket.redis() as redis:
            await redis.config_set("maxmemory-policy", "allkeys-lru")
            await redis.execute_command("ACL", "SETUSER", "default", "-info")
        await docket.add(the_task, key="k")()
        async with Worker(docket) as worker:
            await worker.run_until_finished()
            assert await server_policy(docket.connections.pipeline) is None
        execution = await docket.get_execution("k")

    assert told(caplog) == []
    assert execution is not None
    assert execution.state is not None
    assert execution.state.value == "completed"
