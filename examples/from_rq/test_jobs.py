from datetime import UTC, datetime, timedelta

import pytest
from docket import Docket, Worker, testing

from jobs import attempts, import_and_report, import_file, imported, post, report

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
