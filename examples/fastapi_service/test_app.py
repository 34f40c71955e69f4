import httpx
import pytest
from docket import Docket, Worker, testing

from jobs import build_report

pytestmark = pytest.mark.anyio


async def test_a_report_can_be_fetched_when_a_worker_has_built_it(
    client: httpx.AsyncClient, worker: Worker
) -> None:
    await client.post("/reports/2026-05", params={"pages": 2})
    assert (await client.get("/reports/report-2026-05")).json()["state"] == "queued"

    await worker.run_until_finished()

    assert (await client.get("/reports/report-2026-05")).json()["state"] == "completed"
    result = await client.get("/reports/report-2026-05/result")
    assert result.json() == {"report": "report of 2026-05: 2 pages"}


async def test_a_request_adds_one_task_however_often_it_is_sent(
    client: httpx.AsyncClient, docket: Docket
) -> None:
    for _ in range(2):
        response = await client.post("/reports/2026-05")
        assert (response.status_code, response.json()) == (202, {"key": "report-2026-05"})

    await testing.assert_task_scheduled(docket, build_report, args=("2026-05", 3))
    await testing.assert_task_count(docket, count=1)


async def test_a_report_that_nobody_asked_for_is_not_found(client: httpx.AsyncClient) -> None:
    assert (await client.get("/reports/unknown")).status_code == 404


async def test_a_report_can_be_cancelled_while_it_waits(
    client: httpx.AsyncClient, docket: Docket
) -> None:
    await client.post("/reports/2026-05")

    assert (await client.delete("/reports/report-2026-05")).status_code == 204

    await testing.assert_no_tasks(docket)


async def test_a_plain_endpoint_adds_from_its_thread(
    client: httpx.AsyncClient, docket: Docket
) -> None:
    assert (await client.post("/mails/ada@example.com")).status_code == 202

    await testing.assert_task_scheduled(docket, "send_mail", args=("ada@example.com",))
