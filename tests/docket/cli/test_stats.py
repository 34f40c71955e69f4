"""`docket stats`."""

import json
import re
import signal
from datetime import timedelta

import pytest

from docket import Docket
from docket.clock import now
from tests.support import cli_tasks
from tests.support.dockets import finish
from tests.support.programs import docket_program, run_docket
from tests.support.terminals import run_docket_on_terminal

pytestmark = pytest.mark.anyio

Options = tuple[str, ...]
HEADINGS = ["Function", "Runs", "Per", "Minute", "Failed", "Retried", "Redelivered"]


async def break_down() -> None:
    raise ValueError("always")


@pytest.fixture
async def worked(docket: Docket) -> Docket:
    """A docket with some runs behind it, and two tasks ahead."""
    for _ in range(3):
        await docket.add(cli_tasks.greet)("Ann")
    await docket.add(break_down)()
    await finish(docket)
    await docket.add(cli_tasks.greet, now() + timedelta(days=1))("Ann")
    await docket.add(cli_tasks.greet)("Ann")
    return docket


async def test_it_shows_the_backlog_and_a_row_for_each_function(
    worked: Docket, on: Options
) -> None:
    code, output, errors = await run_docket("stats", *on)

    assert (code, errors) == (0, "")
    lines = output.splitlines()
    assert lines[0] == f"Docket: {worked.name!r}"
    assert lines[1].startswith("from ")
    assert re.fullmatch(
        r"1 queued, the oldest for \S+; 0 running on 0 workers; 1 scheduled", lines[2]
    )
    assert lines[3] == "0 waiting for a limit, 0 paused by 0 pauses, 1 failed kept"
    assert lines[4].split()[:7] == HEADINGS
    assert [line.split()[0] for line in lines[5:]] == ["greet", "break_down", "(all)"]
    assert lines[5].split()[1] == "3"
    assert "1 (100.0%)" in lines[6]
    assert "1 (25.0%)" in lines[7]


async def test_json_is_for_programs(worked: Docket, on: Options) -> None:
    code, output, _ = await run_docket("stats", *on, "--json", "--over", "24h")

    assert code == 0
    told = json.loads(output)
    assert told["docket"] == worked.name
    assert (told["backlog"]["queued"], told["backlog"]["scheduled"]) == (1, 1)
    assert told["functions"]["greet"]["runs"] == 3
    assert told["functions"]["break_down"]["failure_rate"] == 1
    assert told["functions"]["greet"]["running"]["count"] == 3
    assert told["total"]["runs"] == 4
    assert told["since"] < told["until"]


async def test_a_terminal_gets_a_table(worked: Docket, on: Options) -> None:
    code, output = await run_docket_on_terminal("stats", *on)

    assert code == 0
    assert "greet" in output
    assert "┃" in output


async def test_watching_goes_on_until_ctrl_c(worked: Docket, on: Options) -> None:
    async with docket_program("stats", *on, "--watch", "--json") as program:
        await program.said('"docket"')
        program.send(signal.SIGINT)
        assert await program.ended() == 0
    assert program.errors == ""


async def test_a_docket_without_runs_has_no_rows(docket: Docket, on: Options) -> None:
    _, output, _ = await run_docket("stats", *on)

    assert len(output.splitlines()) == 5


async def test_a_time_that_is_not_kept_is_refused(docket: Docket, on: Options) -> None:
    code, _, errors = await run_docket("stats", *on, "--over", "3d")

    assert code == 2
    assert "--over" in errors
    assert "keep_statistics" in errors
