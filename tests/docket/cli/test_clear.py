"""`docket clear`."""

from datetime import timedelta

import pytest

from docket import Docket, ExecutionState
from docket.clock import now
from tests.support import cli_tasks
from tests.support.programs import run_docket

pytestmark = pytest.mark.anyio


async def test_what_waits_is_cancelled_and_counted(docket: Docket, on: tuple[str, ...]) -> None:
    queued = await docket.add(cli_tasks.greet)("Ann")
    scheduled = await docket.add(cli_tasks.greet, now() + timedelta(hours=1))("Bob")

    code, output, errors = await run_docket("clear", *on)

    assert (code, errors) == (0, "")
    assert output == f"Cleared 2 tasks from docket {docket.name!r}\n"
    for execution in (queued, scheduled):
        await execution.sync()
        assert execution.state is ExecutionState.CANCELLED


async def test_an_empty_docket_has_nothing_to_clear(docket: Docket, on: tuple[str, ...]) -> None:
    _, output, _ = await run_docket("clear", *on)

    assert output == f"Cleared 0 tasks from docket {docket.name!r}\n"
