import pytest
from docket import Docket, Worker

import jobs
from jobs import (
    alarms,
    charge,
    clean_up,
    cleaned,
    fetch,
    poll,
    polled,
    sent,
    total_words,
    word_count,
)

pytestmark = pytest.mark.anyio


async def test_an_unavailable_site_is_tried_again(docket: Docket, worker: Worker) -> None:
    execution = await docket.add(fetch)("https://example.com/a")
    await worker.run_at_most({execution.key: 3})
    assert await execution.get_result() == 200


async def test_another_error_is_not_tried_again(docket: Docket, worker: Worker) -> None:
    execution = await docket.add(fetch)("https://example.com/unknown")
    await worker.run_at_most({execution.key: 3})
    with pytest.raises(KeyError):
        await execution.get_result()
    assert execution.attempt == 1


async def test_the_parts_are_counted_and_added_up(docket: Docket, worker: Worker) -> None:
    docket.register(word_count)
    execution = await docket.add(total_words)(["a b c", "d e"])
    await worker.run_until_finished()
    assert await execution.get_result() == 5


async def test_each_step_of_a_chain_adds_the_next(docket: Docket, worker: Worker) -> None:
    for task in jobs.tasks:
        docket.register(task)
    await docket.add(charge, key="charge-7")(7)
    await worker.run_at_most({"clean_up": 0, "poll": 0})
    assert sent == ["receipt 7.pdf"]


async def test_a_failure_calls_for_help_and_ends_the_chain(docket: Docket, worker: Worker) -> None:
    execution = await docket.add(charge)(13)
    await worker.run_until_finished()
    with pytest.raises(ValueError, match="the card has expired"):
        await execution.get_result()
    assert alarms == ["the card has expired"]
    assert await docket.get_execution("render-13") is None


async def test_a_worker_schedules_the_poll_by_itself(docket: Docket, worker: Worker) -> None:
    docket.register(poll)
    await worker.run_at_most({"poll": 1})
    assert polled == ["polled"]


async def test_cleaning_up_is_due_now_and_then_every_night(docket: Docket, worker: Worker) -> None:
    await docket.add(clean_up, key="clean_up")()  # a worker adds it by itself, for three o'clock
    await worker.run_at_most({"clean_up": 1})
    assert cleaned == ["uploads"]
