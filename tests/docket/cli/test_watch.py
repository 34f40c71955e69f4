"""`docket watch`."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from docket import Docket, ExecutionState, Progress, Retry, Worker
from docket.clock import now
from docket.execution import ExecutionProgress
from tests.support import cli_tasks
from tests.support.dockets import Gate, at_work, finish, result_of, soon
from tests.support.programs import docket_program, run_docket
from tests.support.terminals import run_docket_on_terminal

pytestmark = [pytest.mark.anyio, pytest.mark.statement(13)]

Options = tuple[str, ...]


async def break_down() -> None:
    raise ValueError("the [bold]reason")


def told(docket: Docket, key: str, function: str, *lines: str) -> str:
    """All that is said of a task."""
    facts = (f"Task: {key}", f"Docket: {docket.name}", f"Function: {function}", *lines)
    return "".join(f"{line}\n" for line in facts)


async def test_it_tells_state_and_progress_until_the_end(docket: Docket, on: Options) -> None:
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
            await program.said(
                told(docket, "rows", "import_rows", "State: RUNNING", "Worker: w", "Progress: 0/3")
            )
            gate.opened.set()
            await program.said(
                "Progress: 2/3 nearly there\nState: COMPLETED\n✓ Task completed successfully\n"
            )
            assert await program.ended() == 0
    assert program.errors == ""


async def test_a_task_that_reports_no_progress_has_none(docket: Docket, on: Options) -> None:
    gate = Gate()
    await docket.add(gate.pass_through, key="plain")()
    async with at_work(Worker(docket, name="w")):
        await soon(gate.reached.wait())
        async with docket_program("watch", *on, "plain") as program:
            await program.said("State: RUNNING\nWorker: w\n")
            gate.opened.set()
            await program.said("State: COMPLETED\n✓ Task completed successfully\n")
            assert await program.ended() == 0


async def test_it_waits_for_a_task_that_is_not_due_yet(docket: Docket, on: Options) -> None:
    await docket.add(cli_tasks.greet, now() + timedelta(days=1), key="later")("Ann")

    async with docket_program("watch", *on, "later") as program:
        await program.said(told(docket, "later", "greet", "State: SCHEDULED"))
        await docket.cancel("later")
        await program.said("State: CANCELLED\n✗ Task cancelled\n")
        assert await program.ended() == 0


async def test_it_goes_on_from_a_queued_task_through_its_attempts(
    docket: Docket, on: Options
) -> None:
    gate = Gate()

    async def try_twice(retry: Retry = Retry(attempts=2)) -> None:
        await gate.pass_through()
        if retry.attempt == 1:
            raise ValueError("not yet")

    await docket.add(try_twice, key="twice")()
    async with docket_program("watch", *on, "twice") as program:
        await program.said(told(docket, "twice", "try_twice", "State: QUEUED"))
        async with at_work(Worker(docket, name="w")):
            gate.opened.set()
            await program.said("✓ Task completed successfully\n")
            assert await program.ended() == 0


async def test_what_has_failed_is_told_with_its_error(docket: Docket, on: Options) -> None:
    await docket.add(break_down, key="broken")()
    await finish(docket, name="w")

    failed = ("State: FAILED", "Worker: w", "Error: ValueError: the [bold]reason", "✗ Task failed")
    assert await run_docket("watch", *on, "broken") == (
        0,
        told(docket, "broken", "break_down", *failed),
        "",
    )
    code, output = await run_docket_on_terminal("watch", *on, "broken")
    assert code == 0
    for line in ("Task: broken", f"Docket: {docket.name}", *failed):
        assert line in output


async def test_a_key_that_is_not_there_is_told(on: Options) -> None:
    text = "Error: Task with key 'nothing' not found or function not registered\n"

    assert await run_docket("watch", *on, "nothing") == (0, text, "")


async def run(docket: Docket) -> None:
    await docket.add(cli_tasks.greet, key="key")("Ann")
    await finish(docket)


async def fail(docket: Docket) -> None:
    await docket.add(break_down, key="key")()
    await finish(docket)


async def cancel(docket: Docket) -> None:
    execution = await docket.add(cli_tasks.greet, now() + timedelta(days=1), key="key")("Ann")
    await docket.cancel("key")
    await execution.sync()
    assert execution.state is ExecutionState.CANCELLED


async def nothing(docket: Docket) -> None: ...


@pytest.mark.parametrize(("prepare", "code"), [(run, 0), (fail, 1), (cancel, 0), (nothing, 1)])
async def test_scripts_may_ask_for_an_exit_code(
    docket: Docket, on: Options, prepare: Callable[[Docket], Awaitable[None]], code: int
) -> None:
    await prepare(docket)

    assert (await run_docket("watch", *on, "key"))[0] == 0
    assert (await run_docket("watch", *on, "--exit-code", "key"))[0] == code


async def test_options_have_letters(docket: Docket, server: str) -> None:
    await docket.add(cli_tasks.greet, key="greeting")("Ann")
    await finish(docket, name="w")

    code, output, _ = await run_docket("watch", "-d", docket.name, "-u", server, "greeting")

    completed = ("State: COMPLETED", "Worker: w", "✓ Task completed successfully")
    assert (code, output) == (0, told(docket, "greeting", "greet", *completed))


@pytest.mark.parametrize(
    "variables",
    [
        {"DOCKET_REDIS_URL": "server"},
        {"DOCKET_URL": "server"},
        {"DOCKET_REDIS_URL": "server", "DOCKET_URL": "ftp://nowhere"},
        {"DOCKET_REDIS_URL": "", "DOCKET_URL": "server"},
    ],
    ids=str,
)
async def test_the_url_comes_from_either_variable(
    docket: Docket, server: str, variables: dict[str, str]
) -> None:
    await docket.add(cli_tasks.greet, key="greeting")("Ann")
    await finish(docket)
    urls = {name: server if value == "server" else value for name, value in variables.items()}

    code, output, _ = await run_docket(
        "watch", "greeting", env={"DOCKET_NAME": docket.name, **urls}
    )

    assert code == 0
    assert output.endswith("✓ Task completed successfully\n")


async def test_a_key_of_any_characters_stays_on_its_line(docket: Docket, on: Options) -> None:
    await docket.add(cli_tasks.greet, key="two\nlines")("Ann")
    await finish(docket)

    _, output, _ = await run_docket("watch", *on, "two\nlines")
    _, missing, _ = await run_docket("watch", *on, "no\nkey")

    assert output.startswith("Task: two\\nlines\n")
    assert "'no\\nkey'" in missing


async def test_on_a_terminal_a_bar_grows(docket: Docket, on: Options) -> None:
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
    for expected in (
        *("Task: rows", f"Docket: {docket.name}", "State: RUNNING", "Worker: w", "2/5", "reading"),
        *("5/5", "State: COMPLETED", "✓ Task completed successfully", "━"),
    ):
        assert expected in output
