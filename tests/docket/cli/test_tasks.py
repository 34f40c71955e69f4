"""`docket tasks`."""

import re
from datetime import timedelta

import pytest

from docket import Docket, ExecutionState
from docket.clock import now
from tests.support.dockets import found
from tests.support.programs import run_docket

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("trace",), ("Howdy!",)),
        (("trace", "Good day"), ("Good day",)),
        (("fail",), ("Howdy!",)),
        (("fail", "Alas"), ("Alas",)),
        (("sleep",), (1.0,)),
        (("sleep", "2.5"), (2.5,)),
    ],
)
async def test_a_built_in_task_is_added(
    docket: Docket, on: tuple[str, ...], arguments: tuple[str, ...], expected: tuple[object, ...]
) -> None:
    name, *rest = arguments

    code, output, errors = await run_docket("tasks", name, *on, *rest)

    assert (code, errors) == (0, "")
    said = re.fullmatch(f"Added {name} task '(.+)' to the docket '{docket.name}'\n", output)
    assert said
    execution = await found(docket, said[1])
    assert (execution.function_name, execution.args) == (name, expected)
    assert execution.state is ExecutionState.QUEUED


async def test_a_delayed_task_is_scheduled(docket: Docket, on: tuple[str, ...]) -> None:
    begun = now()

    _, output, _ = await run_docket("tasks", "sleep", *on, "--delay", "1h")

    execution = await found(docket, output.split("'")[1])
    assert execution.state is ExecutionState.SCHEDULED
    # Milliseconds are what is stored.
    assert begun + timedelta(minutes=59) < execution.when <= now() + timedelta(hours=1)


@pytest.mark.parametrize("arguments", [("sleep", "--", "-1"), ("sleep", "soon"), ("dance",)])
async def test_nonsense_is_wrong_usage(on: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    name, *rest = arguments

    code, output, errors = await run_docket("tasks", name, *on, *rest)

    assert (code, output) == (2, "")
    assert "Error: " in errors
