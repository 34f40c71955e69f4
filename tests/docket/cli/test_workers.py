"""`docket workers`."""

import json
import os
import re
from datetime import datetime

import pytest

from docket import Docket, Worker
from tests.support.dockets import at_work
from tests.support.programs import run_docket
from tests.support.terminals import lines_without_colors, run_docket_on_terminal

pytestmark = pytest.mark.anyio

SEEN = r"(0:00:\d\d(\.\d+)? ago|in 0:00:00(\.\d+)?)"


async def test_workers_are_listed_with_what_they_can_run(
    docket: Docket, on: tuple[str, ...]
) -> None:
    async with at_work(Worker(docket, name="one")), at_work(Worker(docket, name="two")):
        code, output, errors = await run_docket("workers", "ls", *on)

    assert (code, errors) == (0, "")
    own = docket.tasks.keys() - {"fail", "sleep", "trace"}
    title, headings, *rows = output.splitlines()
    assert title == f"Workers in Docket: {docket.name}"
    assert headings.split("  ")[0] == "Name"
    assert len(rows) == 2
    for row, name in zip(sorted(rows), ("one", "two"), strict=True):
        assert re.fullmatch(rf"{name} +{SEEN} +{', '.join(sorted(own))}", row)


async def test_a_worker_of_built_in_tasks_alone_says_so(
    docket: Docket, server: str, on: tuple[str, ...]
) -> None:
    async with Docket(docket.name, server) as other, at_work(Worker(other, name="one")):
        _, output, _ = await run_docket("workers", "ls", *on)
        _, asked, _ = await run_docket("workers", "for-task", *on, "trace")

    assert output.splitlines()[2].endswith("  (built-in ones only)")
    assert asked.splitlines()[2].endswith("  trace")


async def test_programs_get_the_process_of_each_as_json(
    docket: Docket, on: tuple[str, ...]
) -> None:
    async with at_work(Worker(docket, name="two")), at_work(Worker(docket, name="one")):
        _, output, errors = await run_docket("workers", "ls", *on, "--json")
        _, asked, _ = await run_docket("workers", "for-task", *on, "--json", "trace")

    assert errors == ""
    one, two = json.loads(output)
    assert (one["name"], two["name"]) == ("one", "two")
    assert one["tasks"] == sorted(docket.tasks)
    assert datetime.fromisoformat(one["last_seen"]).tzinfo is not None
    assert one["process"]["pid"] == os.getpid()
    assert datetime.fromisoformat(one["process"]["started_at"]).tzinfo is not None
    assert {each["name"] for each in json.loads(asked)} == {"one", "two"}


@pytest.mark.statement(15)
async def test_those_heard_of_last_come_first_and_one_without_tasks_says_so(
    docket: Docket, on: tuple[str, ...]
) -> None:
    client = docket.connections.client()
    seconds, _ = await client.time()
    heard_of = {"early": 5, "last": 1, "between": 3}
    beats = {f"{name}.00000000": (seconds - ago) * 1000 for name, ago in heard_of.items()}
    await client.zadd(docket.workers_set, beats)

    _, output, _ = await run_docket("workers", "ls", *on)

    rows = [re.split("  +", row) for row in output.splitlines()[2:]]
    assert [(name, tasks) for name, _, tasks in rows] == [
        ("last", "(none)"),
        ("between", "(none)"),
        ("early", "(none)"),
    ]


@pytest.mark.statement(15)
async def test_workers_for_a_task_are_those_that_know_it(
    docket: Docket, server: str, on: tuple[str, ...]
) -> None:
    async with (
        Docket(docket.name, server) as other,
        at_work(Worker(docket, name="knows")),
        at_work(Worker(other, name="does-not")),
    ):
        _, output, _ = await run_docket("workers", "for-task", *on, "greet")
        _, all_know, _ = await run_docket("workers", "for-task", *on, "trace")

    assert output.startswith(f"Workers in Docket: {docket.name}\n")
    assert "knows" in output
    assert "does-not" not in output
    assert "does-not" in all_know


async def test_a_docket_without_workers_has_a_table_without_rows(
    docket: Docket, on: tuple[str, ...]
) -> None:
    _, output, _ = await run_docket("workers", "ls", *on)

    assert output == f"Workers in Docket: {docket.name}\nName  Last Seen  Tasks\n"


async def test_on_a_terminal_the_table_has_lines_around_it(
    docket: Docket, on: tuple[str, ...]
) -> None:
    async with at_work(Worker(docket, name="[red]one[/red]")):
        code, output = await run_docket_on_terminal("workers", "ls", *on)

    assert code == 0
    assert "│ [red]one[/red] │" in output
    assert "┏━━" in output


async def test_a_narrow_terminal_has_every_task_on_a_line(
    docket: Docket, on: tuple[str, ...]
) -> None:
    async def a_task_whose_name_is_longer_than_half_of_the_terminal() -> None: ...

    docket.register(a_task_whose_name_is_longer_than_half_of_the_terminal)
    async with at_work(Worker(docket, name="one")):
        _, output = await run_docket_on_terminal("workers", "ls", *on, columns=50)

    lines = lines_without_colors(output)
    assert max(map(len, lines)) <= 50
    assert any(re.search(r"│ a_task_whos\S*\.\.\.\S+_terminal +│", line) for line in lines)
    assert any(re.search(r"│ greet +│", line) for line in lines)
