import pytest
from docket import Docket, Worker

import service
from jobs import call, closed, download, wake, woken

pytestmark = pytest.mark.anyio


async def test_the_session_is_opened_once_and_closed_with_the_worker(docket: Docket) -> None:
    async with Worker(docket) as worker:
        executions = [await docket.add(download)(url) for url in ("a", "bc")]
        await worker.run_until_finished()
        assert [await execution.get_result() for execution in executions] == [12, 13]
    assert closed == ["session"]


async def test_the_same_job_id_is_enqueued_once(docket: Docket, worker: Worker) -> None:
    first = await docket.add(download, key="job")("a")
    again = await docket.add(download, key="job")("a")
    assert (first.disposition.name, again.disposition.name) == ("SCHEDULED", "ALREADY_SCHEDULED")


async def test_a_call_is_tried_again_when_it_says(docket: Docket, worker: Worker) -> None:
    execution = await docket.add(call)("555")
    await worker.run_until_finished()
    assert await execution.get_result() == 3


async def test_an_exception_is_not_tried_again(docket: Docket, worker: Worker) -> None:
    execution = await docket.add(call)("none")
    await worker.run_until_finished()
    with pytest.raises(ValueError, match="none"):
        await execution.get_result()
    await execution.sync()
    assert execution.attempt == 1


async def test_a_service_without_the_code_enqueues_by_the_signature(docket: Docket) -> None:
    requested = await service.request_download(docket, "abc")
    async with Docket(docket.name, docket.url) as of_the_pool, Worker(of_the_pool) as worker:
        of_the_pool.register(download)
        await worker.run_until_finished()
    assert await requested.get_result() == len("content of abc")


async def test_waking_knows_its_key(docket: Docket, worker: Worker) -> None:
    await docket.add(wake, key="wake")()  # a worker adds it by itself, for half past seven
    await worker.run_at_most({"wake": 1})
    assert woken == ["wake"]
