"""`docket worker`, as a real program on a real server."""

import json
import os
import re
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from docket import Docket, ExecutionState
from tests.support import cli_tasks
from tests.support.programs import docket_program, run_docket, run_docket_process

pytestmark = pytest.mark.anyio

TASKS = ("--tasks", "tests.support.cli_tasks:tasks")
#: Long enough for a busy machine, short enough for a test that fails.
PATIENCE = timedelta(seconds=30)


def on(docket: Docket) -> tuple[str, ...]:
    return ("--docket", docket.name, "--url", docket.url)


async def test_until_finished_runs_all_there_is_and_ends(docket: Docket) -> None:
    execution = await docket.add(cli_tasks.greet)("Ann")

    code, output, errors = await run_docket_process(
        "worker", *on(docket), *TASKS, "--until-finished"
    )

    assert (code, errors) == (0, "")
    assert await execution.get_result(timeout=PATIENCE) == "Hello, Ann!"
    assert "greet(...)" in output


async def test_what_the_environment_says_is_what_the_options_say(docket: Docket) -> None:
    execution = await docket.add(cli_tasks.greet)("Ann")
    environment = {
        "DOCKET_NAME": docket.name,
        "DOCKET_URL": docket.url,
        "DOCKET_TASKS": "docket.tasks:standard_tasks tests.support.cli_tasks:tasks",
        "DOCKET_WORKER_NAME": "named-by-environment",
        "DOCKET_WORKER_CONCURRENCY": "1",
        "DOCKET_WORKER_REDELIVERY_TIMEOUT": "00:10:00",
        "DOCKET_WORKER_RECONNECTION_DELAY": "1s",
        "DOCKET_WORKER_MINIMUM_CHECK_INTERVAL": "50ms",
        "DOCKET_WORKER_SCHEDULING_RESOLUTION": "1",
        "DOCKET_WORKER_SCHEDULE_AUTOMATIC_TASKS": "false",
        "DOCKET_WORKER_ENABLE_INTERNAL_INSTRUMENTATION": "false",
        "DOCKET_WORKER_UNTIL_FINISHED": "true",
        "DOCKET_WORKER_MESSAGE_BATCH": "10",
        "DOCKET_LOGGING_LEVEL": "WARNING",
        "DOCKET_LOGGING_FORMAT": "plain",
    }

    code, output, errors = await run_docket_process("worker", env=environment)

    assert (code, output, errors) == (0, "", "")
    await execution.sync()
    assert execution.state is ExecutionState.COMPLETED
    assert str(execution.worker).startswith("named-by-environment")


async def test_it_finds_task_modules_in_the_working_directory(
    docket: Docket, tmp_path: Path
) -> None:
    module = "async def here() -> str: return 'from here'\ncollection = [here]\n"
    (tmp_path / "local_tasks.py").write_text(module)
    docket.register(cli_tasks.anything, names=["here"])
    execution = await docket.add("here")()

    code, _, errors = await run_docket_process(
        "worker",
        *on(docket),
        "--tasks",
        "local_tasks:collection",
        "--until-finished",
        cwd=tmp_path,
    )

    assert code == 0, errors
    assert await execution.get_result(timeout=PATIENCE) == "from here"


async def test_dependencies_are_around_every_task(docket: Docket) -> None:
    execution = await docket.add(cli_tasks.greet)("Ann")
    around = ("--dependencies", "tests.support.cli_tasks:around")

    code, output, _ = await run_docket_process(
        "worker", *on(docket), *TASKS, *around, "--until-finished"
    )

    assert code == 0
    assert "around" in output.splitlines()
    assert await execution.get_result(timeout=PATIENCE) == "Hello, Ann!"


async def test_an_unknown_task_goes_to_the_fallback(docket: Docket) -> None:
    docket.register(cli_tasks.anything, names=["retired"])
    execution = await docket.add("retired")(1, b=2)

    code, _, errors = await run_docket_process(
        "worker",
        *on(docket),
        "--fallback-task",
        "tests.support.cli_tasks:anything",
        "--until-finished",
    )

    assert code == 0, errors
    assert await execution.get_result(timeout=PATIENCE) == "fallback got (1,) {'b': 2}"


@pytest.mark.statement(6)
async def test_the_default_fallback_may_be_named(docket: Docket) -> None:
    docket.register(cli_tasks.anything, names=["retired"])
    execution = await docket.add("retired")(1, b=2)

    code, _, errors = await run_docket_process(
        "worker",
        *on(docket),
        "--fallback-task",
        "docket.worker:default_fallback_task",
        "--until-finished",
    )

    assert code == 0, errors
    assert await execution.get_result(timeout=PATIENCE) is None


@pytest.mark.statement(11)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_stop_it_says_so_and_finishes_what_runs(
    docket: Docket, tmp_path: Path, number: signal.Signals
) -> None:
    fifo = tmp_path / "release"
    os.mkfifo(fifo)
    running = await docket.add(cli_tasks.hold_until_released)(str(fifo))

    async with docket_program("worker", *on(docket), *TASKS) as program:
        await program.said("started")
        waiting = await docket.add(cli_tasks.greet, key="later")("Ann")
        await waiting.get_result(timeout=PATIENCE)
        program.send(number)
        await program.logged("Shutdown requested, finishing 1 active tasks...")
        assert f"Received {number.name}, initiating graceful shutdown..." in program.output
        fifo.write_text("released")
        assert await program.ended() == 0

    assert await running.get_result(timeout=PATIENCE) == "released"


@pytest.mark.statement(11)
async def test_the_second_signal_hands_back_what_runs(docket: Docket) -> None:
    execution = await docket.add(cli_tasks.hold_for_ever)()

    async with docket_program("worker", *on(docket), *TASKS) as program:
        await program.said("started")
        program.send(signal.SIGTERM)
        await program.logged("Shutdown requested, finishing 1 active tasks...")
        program.send(signal.SIGTERM)
        assert await program.ended() == 0

    await execution.sync()
    assert execution.state is ExecutionState.QUEUED


async def test_memory_is_served_by_the_worker_itself() -> None:
    code, _, errors = await run_docket_process("worker", "--url", "memory://", "--until-finished")

    assert code == 0, errors


@pytest.mark.statement(8)
@pytest.mark.parametrize("logging_format", ["rich", "plain", "json"])
async def test_it_tells_what_it_can_run_in_every_format(
    docket: Docket, logging_format: str
) -> None:
    code, output, errors = await run_docket_process(
        *("worker", *on(docket), *TASKS, "--name", "w", "--until-finished"),
        *("--logging-format", logging_format),
    )

    assert code == 0, errors
    assert "Starting worker 'w' with the following tasks:" in output + errors
    assert "* greet(name: str)" in output + errors


@pytest.mark.parametrize("fallback", [(), ("--fallback-task", "tests.support.cli_tasks:anything")])
async def test_collections_without_a_task_are_warned_of(
    docket: Docket, tmp_path: Path, fallback: tuple[str, ...]
) -> None:
    (tmp_path / "jobs.py").write_text("tasks = []\nmore = ()\n")
    collections = ("--tasks", "jobs:tasks", "--tasks", "jobs:more", *fallback)

    code, output, errors = await run_docket_process(
        "worker", *on(docket), *collections, "--until-finished", cwd=tmp_path
    )

    assert (code, errors) == (0, "")
    warning = "WARNING - docket.worker - There is no task in jobs:tasks and jobs:more: whatever"
    assert (warning in output) == (not fallback)


@pytest.mark.statement(10)
async def test_json_lines_are_json_and_carry_the_task(docket: Docket) -> None:
    await docket.add(cli_tasks.greet)("Ann")

    _, output, errors = await run_docket_process(
        "worker", *on(docket), *TASKS, "--until-finished", "--logging-format", "json"
    )

    assert errors == ""
    lines = [json.loads(line) for line in output.splitlines()]
    assert all(
        {*"name asctime levelname message exc_info".split()} <= line.keys() for line in lines
    )
    start, end = (
        line for line in lines if "greet(...)" in line["message"] and "[" in line["message"]
    )
    assert (start["docket.task"], start["docket.attempt"]) == ("greet", 1)
    assert start["punctuality"] >= 0
    assert end["duration"] >= 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--tasks", "no_such_module:tasks"), r"--tasks: 'no_such_module:tasks': ModuleNotFound"),
        (("--tasks", "json"), r"--tasks: 'json': ValueError: .*module:collection"),
        (("--tasks", "json:nothing"), r"--tasks: 'json:nothing': AttributeError: "),
        (("--tasks", "json:__name__"), r"--tasks: 'json:__name__': TypeError: "),
        (("--fallback-task", "json"), r"--fallback-task: 'json': ValueError: not of the form"),
        (("--dependencies", "json"), r"--dependencies: 'json': ValueError: .*module:member"),
        (("--dependencies", "json:decoder"), r"--dependencies: .*TypeError: .* not a module"),
        (
            ("--fallback-task", "tests.support.cli_tasks:not_a_function"),
            r"--fallback-task: .*TypeError: a str, not a function",
        ),
        (("--url", "ftp://user:secret@host"), r"Accepted: redis://"),
        (("--docket", "{braces}"), r"braces"),
        (("--concurrency", "0"), r"--concurrency.*0 is not in the range"),
        (("--redelivery-timeout", "soon"), r"'soon' is not a duration such as 100ms, 5s"),
        (("--redelivery-timeout", "0s"), r"redelivery_timeout must be positive"),
        (("--colour", "red"), r"No such option"),
    ],
)
async def test_wrong_usage_is_one_clear_line_and_exit_code_two(
    server: str, arguments: tuple[str, ...], complaint: str
) -> None:
    code, output, errors = await run_docket("worker", "--url", server, *arguments)

    assert (code, output) == (2, "")
    last = errors.splitlines()[-1]
    assert last.startswith("Error: ")
    assert re.search(complaint, last)
    assert "secret" not in errors
    assert "Traceback" not in errors


async def test_a_fault_in_a_task_module_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text("first = 1\nraise RuntimeError('at import')\n")

    code, _, errors = await run_docket_process(
        "worker", "--url", "memory://", "--tasks", "faulty:tasks", cwd=tmp_path
    )

    assert code == 2
    assert re.search(r"RuntimeError: at import \(.*faulty.py, line 2\)$", errors.strip())


async def test_a_server_that_is_not_there_is_waited_for_and_a_signal_ends_that(
    unused_port: int,
) -> None:
    url = f"redis://127.0.0.1:{unused_port}/0"

    async with docket_program("worker", "--url", url) as program:
        await program.logged("connecting again")
        program.send(signal.SIGTERM)
        assert await program.ended() == 0

    assert "Received SIGTERM, initiating graceful shutdown..." in program.output
    assert "Traceback" not in program.output + program.errors


async def test_an_embedded_server_that_cannot_start_is_one_clear_line(tmp_path: Path) -> None:
    folder = tmp_path / "a-file"
    folder.write_text("in the way")

    code, _, errors = await run_docket_process("worker", "--url", f"embedded://{folder}")

    assert code == 1
    assert errors.startswith("Error: cannot start embedded://")
    assert "Traceback" not in errors
