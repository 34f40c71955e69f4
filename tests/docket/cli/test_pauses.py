"""`docket pause`, `docket resume` and `docket pauses`."""

import getpass
import json
import socket
from datetime import UTC, datetime, timedelta

import pytest

from docket import Docket, Worker
from tests.support.dockets import at_work
from tests.support.programs import run_docket
from tests.support.terminals import run_docket_on_terminal

pytestmark = pytest.mark.anyio

Options = tuple[str, ...]


async def test_a_task_is_paused_listed_and_resumed(docket: Docket, on: Options) -> None:
    async with at_work(Worker(docket)):
        paused = await run_docket(
            *("pause", *on, "--function", "greet", "--for", "2h"),
            *("--reason", "they are asleep", "--by", "ann"),
        )
    assert paused == (0, "Paused greet\n", "")

    (pause,) = await docket.pauses()
    assert (pause.function, pause.reason, pause.by) == ("greet", "they are asleep", "ann")
    assert pause.until is not None
    assert pause.until - pause.since == timedelta(hours=2)
    code, output, errors = await run_docket("pauses", *on)
    assert (code, errors) == (0, "")
    title, headings, row = output.splitlines()
    assert title == f"Pauses in Docket: {docket.name}"
    assert headings.split() == ["Function", "Since", "Until", "Reason", "By"]
    assert row.split()[0] == "greet"
    assert row.endswith("they are asleep  ann")

    assert await run_docket("resume", *on, "--function", "greet") == (0, "Resumed greet\n", "")
    assert await docket.pauses() == []
    said = "greet was not paused: there is nothing to resume\n"
    assert await run_docket("resume", *on, "--function", "greet") == (0, said, "")


async def test_the_whole_docket_is_paused_by_whoever_runs_the_command(
    docket: Docket, on: Options
) -> None:
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)

    assert await run_docket("pause", *on, "--until", end.isoformat()) == (
        0,
        "Paused (all tasks)\n",
        "",
    )

    (pause,) = await docket.pauses()
    assert (pause.function, pause.until, pause.reason) == (None, end, None)
    assert pause.by == f"{getpass.getuser()}@{socket.gethostname()}"
    assert await run_docket("resume", *on) == (0, "Resumed (all tasks)\n", "")
    said = "(all tasks) was not paused: there is nothing to resume\n"
    assert await run_docket("resume", *on) == (0, said, "")


async def test_a_pause_of_what_is_paused_tells_the_one_before(docket: Docket, on: Options) -> None:
    await docket.pause(reason="the database moves", by="bob")

    code, output, errors = await run_docket("pause", *on, "--for", "1h")

    assert (code, errors) == (0, "")
    assert output.startswith("Paused (all tasks); it was paused already, since 20")
    assert output.endswith(" by bob: the database moves\n")


async def test_a_name_that_no_worker_knows_is_warned_of(docket: Docket, on: Options) -> None:
    code, output, errors = await run_docket("pause", *on, "--function", "gret")

    assert (code, output) == (0, "Paused gret\n")
    assert "no live worker can run: check its name" in errors
    assert [pause.function for pause in await docket.pauses()] == ["gret"]


async def test_pauses_are_printed_as_json_for_programs(docket: Docket, on: Options) -> None:
    assert await run_docket("pauses", *on, "--json") == (0, "[]\n", "")
    await docket.pause("greet", until=timedelta(hours=1), reason="why\n\x1b[31m")
    await docket.pause(by="ann")
    everything, one = await docket.pauses()

    code, output, errors = await run_docket("pauses", *on, "--json")

    assert (code, errors) == (0, "")
    assert output.count("\n") == 1
    assert "\x1b" not in output
    assert one.until is not None
    assert json.loads(output) == [
        {
            "function": None,
            "since": everything.since.isoformat(),
            "until": None,
            "reason": None,
            "by": "ann",
        },
        {
            "function": "greet",
            "since": one.since.isoformat(),
            "until": one.until.isoformat(),
            "reason": "why\n\x1b[31m",
            "by": None,
        },
    ]


async def test_on_a_terminal_pauses_are_a_table(docket: Docket, on: Options) -> None:
    await docket.pause(reason="[bold]why\n\x1b[31m")

    code, output = await run_docket_on_terminal("pauses", *on)

    assert code == 0
    assert f"Pauses in Docket: {docket.name}" in output
    assert "(all tasks)" in output
    assert "(it is resumed)" in output
    assert "[bold]why\\n\\x1b[31m" in output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--for", "1h", "--until", "2050-01-01T00:00Z"), "Give either --until or --for"),
        (("--for", "soon"), "'soon' is not a duration"),
        (("--for", "0s"), "until must be in the future"),
        (("--until", "2020-01-01T00:00Z"), "is past by the server's clock: nothing was paused"),
        (("--until", "2050-01-01T00:00"), "has no time zone: write an instant"),
        (("--until", "tomorrow"), "'tomorrow' is not an instant with its time zone"),
        (("--reason", "x" * 1001), "reason has 1001 characters"),
    ],
)
async def test_what_makes_no_sense_is_wrong_usage_and_pauses_nothing(
    docket: Docket, on: Options, arguments: Options, complaint: str
) -> None:
    code, output, errors = await run_docket("pause", *on, *arguments)

    assert (code, output) == (2, "")
    assert complaint in errors
    assert await docket.pauses() == []
