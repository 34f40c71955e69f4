from datetime import timedelta

import httpx
import pytest

import app as service
import one_process

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_server")]


@pytest.fixture
def own_server(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setenv("DOCKET_URL", f"memory://{request.node.name}")


async def test_the_docket_is_open_for_as_long_as_the_app_runs() -> None:
    async with service.app.router.lifespan_context(service.app):
        docket = service.app.state.docket
        assert docket.is_open
    assert not docket.is_open


async def test_in_one_process_the_worker_runs_what_the_endpoints_add() -> None:
    transport = httpx.ASGITransport(app=one_process.app)
    async with (
        one_process.app.router.lifespan_context(one_process.app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        await client.post("/reports/2026-05")
        execution = await one_process.app.state.docket.get_execution("report-2026-05")
        assert await execution.get_result(timeout=timedelta(seconds=20)) == (
            "report of 2026-05: 3 pages"
        )
