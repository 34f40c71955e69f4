"""The tasks that every docket knows."""

import logging
import re

import pytest

from docket import Docket, tasks
from docket.annotations import CallFormat
from tests.support.dockets import failure_of, finish
from tests.support.runs import call

pytestmark = pytest.mark.anyio


@pytest.mark.statement(48)
async def test_trace_logs_the_message_with_its_way(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        await call(tasks.trace, "Howdy!")

    [record] = caplog.records
    assert record.name == "docket.task.trace"
    assert re.fullmatch(
        r"Howdy!: 'the-key' added to docket 'the-docket' 0:00:00(\.\d+)? ago "
        "now running on worker 'the-worker'",
        record.getMessage(),
    )


@pytest.mark.statement(48)
async def test_fail_fails_with_the_message() -> None:
    with pytest.raises(
        Exception,
        match=r"^Howdy!: the-key added to docket the-docket 0:00:00(\.\d+)? ago "
        "now running on worker the-worker$",
    ) as raised:
        await call(tasks.fail, "Howdy!")
    assert raised.type is Exception


@pytest.mark.statement(48)
async def test_fail_is_tried_twice(docket: Docket) -> None:
    execution = await docket.add(tasks.fail)("Oh no!")
    worker = await finish(docket)

    assert str(await failure_of(execution)).startswith(f"Oh no!: {execution.key} added to docket ")
    assert worker.counters.failed == 2


async def test_sleep_takes_its_time_and_returns(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        await call(tasks.sleep, 0)

    assert caplog.messages == ["Sleeping for 0 seconds"]


@pytest.mark.statement(48)
def test_the_standard_tasks_are_these_and_do_not_log_their_argument() -> None:
    assert tasks.standard_tasks == [tasks.trace, tasks.fail, tasks.sleep]
    for task in tasks.standard_tasks:
        assert CallFormat(task)("it", ("Howdy!",), {}) == "it(...)"
