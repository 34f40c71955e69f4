"""The tasks that every docket knows."""

import logging

import pytest

from docket import tasks
from docket.annotations import CallFormat
from tests.support.runs import call

pytestmark = pytest.mark.anyio


async def test_trace_logs_the_message_with_its_way(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        await call(tasks.trace, "Howdy!")

    [record] = caplog.records
    assert record.name == "docket.task.trace"
    assert record.getMessage().startswith(
        "Howdy!: task 'the-key' of docket 'the-docket' runs on worker 'the-worker', 0:00:00"
    )


async def test_fail_fails_with_the_message() -> None:
    with pytest.raises(RuntimeError, match=r"^Howdy!: task 'the-key' of docket 'the-docket' fails"):
        await call(tasks.fail, "Howdy!")


async def test_sleep_takes_its_time_and_returns(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        await call(tasks.sleep, 0)

    assert caplog.messages == ["Sleeping for 0 seconds"]


def test_the_standard_tasks_are_these_and_log_their_argument() -> None:
    assert tasks.standard_tasks == [tasks.trace, tasks.fail, tasks.sleep]
    assert CallFormat(tasks.trace)("trace", ("Howdy!",), {}) == "trace('Howdy!')"
