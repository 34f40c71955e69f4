"""`docket watch`."""

import asyncio
from datetime import timedelta

import pytest

from docket import Docket, Progress, Worker
from docket.clock import now
from docket.execution import ExecutionProgress
from tests.support import cli_tasks
from tests.support.dockets import Gate, at_work, finish, result_of, soon
from tests.support.programs import docket_program, run_docket
from tests.support.terminals import run_docket_on_terminal

pytestmark = pytest.mark.anyio


async def test_it_tells_state_and_progress_until_the_end(
    docket: Docket, on: tuple[str, ...]
) -> None:
    gate = Gate()

    async def import_rows(progress: ExecutionProgress = Progress()) -> None:
        await progress.set_total(3)
        await gate.pass_through()
        await progress.increment(2)
        await progress.set_message("nearly there")

    await docket.add(import_rows, key="rows")()
    async with at_work(Worker(docket, name="w")):
        await soon(gate.reached.wait())
        async with docket_program("watch", *on, "rows") as program:
            await program.said("State: RUNNING (worker w)\n")
            gate.opened.set()
            await program.said("Progress: 2/3 nearly there\nState: COMPLETED (worker w)\n")
            assert await program.ended() == 0
    assert program.errors == ""


async def test_it_waits_for_a_task_that_is_not_due_yet(docket: Docket, on: tuple[str, ...]) -> None:
    await docket.add(cli_tasks.greet, now() + timedelta(days=1), key="later")("Ann")

    async with docket_program("watch", *on, "later") as program:
        await program.said("State: SCHEDULED\n")
        await docket.cancel("later")
        await program.said("State: CANCELLED\n")
        assert await program.ended() == 0


async def test_what_has_failed_is_told_with_its_error_and_an_exit_code(
    docket: Docket, on: tuple[str, ...]
) -> None:
    async def break_down() -> None:
        raise ValueError("the [bold]reason")

    await docket.add(break_down, key="broken")()
    await finish(docket, name="w")

    assert await run_docket("watch", *on, "broken") == (
        1,
        "State: FAILED (worker w): ValueError: the [bold]reason\n",
        "",
    )
    code, output = await run_docket_on_terminal("watch", *on, "broken")
    assert code == 1
    assert "ValueError: the [bold]reason" in output


async def test_a_key_that_is_not_there_is_told(docket: Docket, on: tuple[str, ...]) -> None:
    code, output, errors = await run_docket("watch", *on, "nothing")

    assert (code, output) == (1, "")
    assert errors == f"Error: No task 'nothing' on the docket {docket.name!r}\n"


async def test_options_have_letters(docket: Docket, server: str) -> None:
    await docket.add(cli_tasks.greet, key="greeting")("Ann")
    await finish(docket, name="w")

    code, output, _ = await run_docket("watch", "-d", docket.name, "-u", server, "greeting")

    assert (code, output) == (0, "State: COMPLETED (worker w)\n")


async def test_on_a_terminal_a_bar_grows(docket: Docket, on: tuple[str, ...]) -> None:
    gate = Gate()

    async def import_rows(progress: ExecutionProgress = Progress()) -> None:
        await progress.set_total(5)
        await progress.increment(2)
        await progress.set_message("reading")
        await gate.pass_through()
        await progress.increment(3)

    execution = await docket.add(import_rows, key="rows")()
    async with at_work(Worker(docket, name="w")):
        await soon(gate.reached.wait())
        shown = asyncio.Event()
        watch = run_docket_on_terminal("watch", *on, "rows", text="reading", shown=shown)
        watching = asyncio.create_task(watch)
        await soon(shown.wait())  # the bar is drawn some times a second, not for each change
        gate.opened.set()
        await result_of(execution)
        code, output = await watching

    assert code == 0
    for expected in ("import_rows rows", "RUNNING", "2/5", "reading", "5/5", "COMPLETED", "━"):
        assert expected in output
