from datetime import UTC, datetime, timedelta

import pytest
from docket import Docket, Retry, Worker, testing

from jobs import (
    attempts,
    callbacks,
    import_and_report,
    import_file,
    imported,
    post,
    report,
    resize,
)

pytestmark = pytest.mark.anyio


async def test_a_file_is_imported(docket: Docket, worker: Worker) -> None:
    execution = await docket.add(import_file)("data.csv")
    await worker.run_until_finished()
    assert await execution.get_result() == 8
    assert imported[-1] == "data.csv"


async def test_what_was_enqueue_in_waits_for_its_time(docket: Docket) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    execution = await docket.add(import_file, when=tomorrow)("data.csv")
    assert execution.state.value == "scheduled"
    await testing.assert_task_count(docket, import_file, count=1)


async def test_a_post_is_tried_four_times(docket: Docket, worker: Worker) -> None:
    execution = await docket.add(post)("https://example.com")
    await worker.run_until_finished()
    assert await execution.get_result() == "posted"
    assert len(attempts) == 4


async def test_the_report_follows_the_import(docket: Docket, worker: Worker) -> None:
    docket.register(report)
    await docket.add(import_and_report)("data.csv")
    await worker.run_until_finished()
    execution = await docket.get_execution("report-data.csv")
    assert execution is not None
    assert await execution.get_result() == "data.csv has 8 lines"


async def test_a_job_calls_back_when_it_has_succeeded_or_failed(
    docket: Docket, worker: Worker
) -> None:
    good = await docket.add(resize, key="good")(["a.png", "b.png"])
    await docket.add(resize, key="bad")(["c.gif"])
    await worker.run_until_finished()
    assert await good.get_result() == 2
    assert sorted(callbacks) == ["bad failed: c.gif", "good succeeded"]


async def test_a_retry_can_be_given_with_the_call(docket: Docket, worker: Worker) -> None:
    attempts.clear()
    execution = await docket.add(post)("https://example.com", retry=Retry(attempts=2))
    await worker.run_until_finished()
    with pytest.raises(ConnectionError):
        await execution.get_result()
    assert len(attempts) == 2
