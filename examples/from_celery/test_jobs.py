import pytest
from docket import Docket, Worker

from jobs import clean_up, cleaned, fetch, total_words, word_count

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


async def test_cleaning_up_is_due_now_and_then_every_night(docket: Docket, worker: Worker) -> None:
    await docket.add(clean_up, key="clean_up")()  # a worker adds it by itself, for three o'clock
    await worker.run_at_most({"clean_up": 1})
    assert cleaned == ["uploads"]
