from datetime import timedelta

import pytest
from docket import Docket, Worker

from jobs import flaky, heartbeat, insert, log

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


async def test_a_dependency_is_opened_and_closed_around_the_task(
    docket: Docket, worker: Worker
) -> None:
    execution = await docket.add(insert)("row")
    await worker.run_until_finished()
    assert await execution.get_result(timeout=timedelta(seconds=5)) == 3
    assert log == ["open", "row", "close"]


async def test_a_flaky_task_is_tried_four_times(docket: Docket, worker: Worker) -> None:
    execution = await docket.add(flaky)()
    await worker.run_until_finished()
    assert await execution.get_result() == 4


async def test_the_schedule_needs_no_process_of_its_own(docket: Docket, worker: Worker) -> None:
    await docket.add(heartbeat, key="heartbeat")()  # a worker adds it by itself
    await worker.run_at_most({"heartbeat": 1})
    assert log == ["beat"]
