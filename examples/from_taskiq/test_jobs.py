from datetime import timedelta

import pytest
from docket import Docket, Worker, testing

from jobs import digest, flaky, heartbeat, insert, log, subscribe, unsubscribe

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


async def test_a_flaky_task_is_tried_three_times(docket: Docket, worker: Worker) -> None:
    execution = await docket.add(flaky)()
    await worker.run_until_finished()
    assert await execution.get_result() == 3


async def test_the_schedule_needs_no_process_of_its_own(docket: Docket, worker: Worker) -> None:
    await docket.add(heartbeat, key="heartbeat")()  # a worker adds it by itself
    await worker.run_at_most({"heartbeat": 1})
    assert log == ["beat"]


async def test_each_user_has_a_schedule_until_they_unsubscribe(
    docket: Docket, worker: Worker
) -> None:
    await subscribe(docket, "ada")
    await subscribe(docket, "bob")
    await unsubscribe(docket, "bob")
    await testing.assert_task_count(docket, digest, count=1)
    await worker.run_at_most({"digest-ada": 1})
    assert log == ["digest for ada"]
