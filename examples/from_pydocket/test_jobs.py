import pytest
from docket import Docket, Worker, testing

from jobs import charge, greet, poll, polled

pytestmark = pytest.mark.anyio


async def test_a_greeting_is_returned(docket: Docket, worker: Worker) -> None:
    execution = await docket.add(greet)("Ada", greeting="Howdy")
    await worker.run_until_finished()
    assert await execution.get_result() == "Howdy, Ada!"


async def test_a_charge_is_tried_again(docket: Docket, worker: Worker) -> None:
    execution = await docket.add(charge)(7)
    await worker.run_until_finished()
    assert await execution.get_result() == 7


async def test_a_poll_schedules_greetings(docket: Docket, worker: Worker) -> None:
    docket.register(poll)
    docket.register(greet)
    await worker.run_at_most({"poll": 2})
    assert len(polled) == 2
    await testing.assert_no_tasks(docket)
