"""`docket snapshot`."""

import re
from datetime import timedelta

import pytest

from docket import Docket, Worker
from docket.cli.relative_time import relative
from docket.clock import now
from tests.support import cli_tasks
from tests.support.dockets import Gate, at_work, soon
from tests.support.programs import run_docket, run_docket_process
from tests.support.terminals import lines_without_colors, run_docket_on_terminal

pytestmark = pytest.mark.anyio

MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}"


@pytest.mark.statement(15)
async def test_it_shows_what_waits(docket: Docket, on: tuple[str, ...]) -> None:
    await docket.add(cli_tasks.greet, key="due")("Ann")
    await docket.add(cli_tasks.greet, now() + timedelta(minutes=30), key="soon")("Ann")
    await docket.add(cli_tasks.greet, now() + timedelta(minutes=31), key="later")("Ann")
    await docket.add(cli_tasks.anything, now() + timedelta(days=2), key="much later")()

    code, output, errors = await run_docket("snapshot", *on)

    assert (code, errors) == (0, "")
    lines = output.splitlines()
    assert lines[0] == f"Docket: {docket.name!r}"
    assert re.fullmatch(f"as of {MOMENT}", lines[1])
    assert lines[2] == "0 workers, 0/4 running"
    assert lines[3].split() == ["When", "Function", "Key", "Worker", "Started"]
    assert re.fullmatch(r"0:00:0\d ago +greet +due", lines[4])
    assert re.fullmatch(r"in 0:29:\d\d +greet +soon", lines[5])
    assert re.fullmatch(rf"at {MOMENT} +greet +later", lines[6])
    assert re.fullmatch(rf"at {MOMENT} +anything +much later", lines[7])
    assert len(lines) == 8


@pytest.mark.statement(15)
@pytest.mark.parametrize(
    ("distance", "shown"),
    [
        (timedelta(minutes=15), "in 0:15:00"),
        (timedelta(minutes=-15), "0:15:00 ago"),
        (timedelta(minutes=15, milliseconds=999), "in 0:15:00"),
        (timedelta(minutes=-15, milliseconds=-999), "0:15:00 ago"),
        (timedelta(milliseconds=-1), "0:00:00 ago"),
        (timedelta(minutes=30), "in 0:30:00"),
        (timedelta(minutes=30, seconds=1), f"at {MOMENT}"),
        (timedelta(minutes=-31), f"at {MOMENT}"),
    ],
)
def test_a_time_is_relative_within_half_an_hour(distance: timedelta, shown: str) -> None:
    moment = now()

    assert re.fullmatch(shown, relative(moment + distance, moment))


@pytest.mark.statement(15)
async def test_without_tasks_there_is_no_table_of_counts(on: tuple[str, ...]) -> None:
    plain, counted = await run_docket("snapshot", *on), await run_docket("snapshot", *on, "--stats")

    assert len(counted[1].splitlines()) == len(plain[1].splitlines()) == 4
    assert "Statistics" not in counted[1]


async def test_it_shows_what_runs_and_counts_by_function(
    docket: Docket, on: tuple[str, ...]
) -> None:
    gate = Gate()

    async def hold() -> None:
        await gate.pass_through()

    await docket.add(hold, key="held")()
    async with at_work(Worker(docket, name="busy", concurrency=1)):
        await soon(gate.reached.wait())
        await docket.add(hold, key="waits")()
        await docket.add(cli_tasks.greet, now() + timedelta(days=2))("Ann")

        _, output, _ = await run_docket("snapshot", *on, "--stats")

        gate.opened.set()
    overview, statistics = output.split("\n\n")
    assert "1 workers, 1/3 running" in overview
    assert re.search(r"hold +held +busy +0:00:\d\d ago\n", overview)
    title, headings, *rows = statistics.splitlines()
    assert title == "Task Count Statistics by Function"
    assert re.split("  +", headings) == [
        *("Function", "Total", "Running", "Queued", "Oldest Queued", "Latest Queued"),
    ]
    assert re.fullmatch(r"hold +2 +1 +1 +0:00:\d\d ago +0:00:\d\d ago", rows[0])
    assert re.fullmatch(rf"greet +1 +0 +1 +at {MOMENT} +at {MOMENT}", rows[1])


async def test_a_function_that_only_runs_has_no_queued_times(
    docket: Docket, on: tuple[str, ...]
) -> None:
    gate = Gate()

    async def hold() -> None:
        await gate.pass_through()

    await docket.add(hold)()
    async with at_work(Worker(docket)):
        await soon(gate.reached.wait())
        _, output, _ = await run_docket("snapshot", *on, "--stats")
        gate.opened.set()

    assert re.fullmatch(r"hold +1 +1 +0", output.splitlines()[-1])


async def test_a_key_of_any_characters_stays_on_its_line(
    docket: Docket, on: tuple[str, ...]
) -> None:
    await docket.add(cli_tasks.greet, key="two\nlines")("Ann")

    _, output, _ = await run_docket("snapshot", *on)

    assert output.splitlines()[-1].endswith(r"two\nlines")


async def test_task_collections_are_registered_or_refused(on: tuple[str, ...]) -> None:
    good = await run_docket_process("snapshot", *on, "--tasks", "tests.support.cli_tasks:tasks")
    bad = await run_docket_process("snapshot", *on, "--tasks", "no_such_module:tasks")

    assert good[0] == 0
    assert bad[0] == 2
    assert "--tasks: 'no_such_module:tasks': ModuleNotFoundError" in bad[2]


async def test_on_a_terminal_it_is_a_table_with_lines(docket: Docket, on: tuple[str, ...]) -> None:
    await docket.add(cli_tasks.greet, key="[bold]due")("Ann")

    code, output = await run_docket_on_terminal("snapshot", *on, "--stats")

    assert code == 0
    assert "0 workers, 0/1 running" in output
    assert "│ [bold]due │" in output
    assert "Task Count Statistics by Function" in output


LONG_KEY = "reminder:2026-11-30:" + "k" * 200 + ":customer:17"


@pytest.mark.parametrize("columns", [120, 80, 50])
@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
async def test_a_terminal_has_every_task_on_a_line_whose_key_lacks_its_middle(
    docket: Docket, on: tuple[str, ...], columns: int, env: dict[str, str]
) -> None:
    for n in range(3):
        await docket.add(cli_tasks.greet, now() + timedelta(minutes=9), key=f"{LONG_KEY}{n}")("Ann")

    _, output = await run_docket_on_terminal("snapshot", *on, columns=columns, env=env)

    lines = lines_without_colors(output)
    assert max(map(len, lines)) <= columns
    assert len([line for line in lines if re.search(r"│ remi\S*\.\.\.\S+17\d │", line)]) == 3
    assert len([line for line in lines if line.startswith("│")]) == 3


async def test_a_pipe_has_the_whole_key(docket: Docket, on: tuple[str, ...]) -> None:
    await docket.add(cli_tasks.greet, key=LONG_KEY)("Ann")

    _, output, _ = await run_docket("snapshot", *on, env={"COLUMNS": "50"})

    assert output.splitlines()[-1].endswith(f"  {LONG_KEY}")


async def test_a_terminal_is_told_of_one_worker(docket: Docket, on: tuple[str, ...]) -> None:
    async with at_work(Worker(docket)):
        _, on_terminal = await run_docket_on_terminal("snapshot", *on, columns=50)
        _, in_pipe, _ = await run_docket("snapshot", *on)

    assert "\n1 worker, 0/0 running" in on_terminal.replace("\r", "")
    assert "\n1 workers, 0/0 running\n" in in_pipe, "as programs have always read it"
