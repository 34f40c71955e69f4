"""`Worker.run`: a worker as the program, which owns its loop, its signals and its ports."""

import asyncio
import os
import signal
import socket
import sys

import anyio
import pytest

from docket import Docket, ExecutionState, Worker
from docket.instrumentation.http_server import CannotListen
from tests.support import cli_tasks
from tests.support.dockets import PATIENCE, result_of, soon
from tests.support.programs import ROOT, docket_program, environment
from tests.support.scrapes import Scrape, probe

pytestmark = pytest.mark.anyio

TASKS = ["tests.support.cli_tasks:tasks"]


@pytest.fixture
def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


async def test_it_runs_the_tasks_of_its_collections_until_finished(
    docket: Docket, server: str
) -> None:
    docket.register(cli_tasks.greet)
    docket.register(cli_tasks.anything, names=["unheard of"])
    known = await docket.add(cli_tasks.greet)("Ann")
    unknown = await docket.add("unheard of")(1)

    await soon(
        Worker.run(
            docket_name=docket.name,
            url=server,
            name="the-program",
            tasks=TASKS,
            fallback_task="tests.support.cli_tasks:anything",
            until_finished=True,
        )
    )

    assert await result_of(known) == "Hello, Ann!"
    assert await result_of(unknown) == "fallback got (1,) {}"
    await known.sync()
    assert known.worker == "the-program"


async def test_its_signal_handlers_go_with_it(docket: Docket, server: str) -> None:
    loop = asyncio.get_running_loop()

    await soon(Worker.run(docket.name, server, until_finished=True))

    for number in (signal.SIGTERM, signal.SIGINT):
        # False: there was none to remove.
        assert loop.remove_signal_handler(number) is False


async def test_a_signal_drains_it_and_the_other_ways_to_run_have_no_handler(
    docket: Docket, server: str
) -> None:
    running = asyncio.create_task(Worker.run(docket.name, server, name="w"))
    docket.register(cli_tasks.greet)
    while not await docket.workers():
        pass

    os.kill(os.getpid(), signal.SIGTERM)

    await soon(running)
    assert await docket.workers() == []
    assert asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM) is False


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"tasks": ["no_such_module:tasks"]}, ModuleNotFoundError),
        ({"tasks": ["json"]}, ValueError),
        ({"fallback_task": "json"}, ValueError),
        ({"fallback_task": "json:__name__"}, TypeError),
        ({"dependencies": {"__mine": None}}, ValueError),
        ({"message_batch": 0}, ValueError),
        ({"metrics_port": 70000}, CannotListen),
    ],
)
async def test_what_is_wrong_is_raised_before_anything_runs(
    docket: Docket, server: str, settings: dict[str, object], error: type[Exception]
) -> None:
    execution = await docket.add(cli_tasks.greet)("Ann")

    with pytest.raises(error):
        await soon(Worker.run(docket.name, server, until_finished=True, **settings))  # type: ignore[arg-type]

    await execution.sync()
    assert execution.state is ExecutionState.QUEUED


async def test_the_program_serves_health_and_metrics_while_it_runs(
    docket: Docket, server: str, free_port: int
) -> None:
    docket.register(cli_tasks.greet)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        metrics_port = other.getsockname()[1]
    options = (
        *("--docket", docket.name, "--url", server, "--name", "w", "--tasks", TASKS[0]),
        *("--healthcheck-port", str(free_port), "--metrics-port", str(metrics_port)),
    )

    async with docket_program("worker", *options) as program:
        execution = await docket.add(cli_tasks.greet)("Ann")
        await execution.get_result(timeout=PATIENCE)
        assert await probe(free_port) == (200, "OK")
        labels = {"docket_name": docket.name, "docket_worker": "w", "docket_task": "greet"}
        scraped = Scrape((await probe(metrics_port))[1])
        assert scraped.value("docket_tasks_started_total", labels) == 1
        program.send(signal.SIGTERM)
        assert await program.ended() == 0


async def test_a_port_that_is_taken_is_one_clear_line(docket: Docket, server: str) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        async with docket_program(
            *("worker", "--docket", docket.name, "--url", server, "--healthcheck-port", port)
        ) as program:
            assert await program.ended() == 1

    assert program.errors.startswith(f"Error: cannot serve health checks on 0.0.0.0:{port}: ")
    assert "Traceback" not in program.errors


async def test_a_plain_script_needs_nothing_else(docket: Docket, server: str) -> None:
    docket.register(cli_tasks.greet)
    execution = await docket.add(cli_tasks.greet)("Ann")
    script = (
        "import asyncio, sys\n"
        "from docket import Worker\n"
        "asyncio.run(Worker.run(sys.argv[1], sys.argv[2], until_finished=True, "
        f"tasks={TASKS!r}))\n"
    )

    with anyio.fail_after(PATIENCE.total_seconds()):
        done = await anyio.run_process(
            [sys.executable, "-c", script, docket.name, server],
            cwd=ROOT,
            env=environment({}),
            check=False,
        )

    assert (done.returncode, done.stderr.decode()) == (0, "")
    assert await result_of(execution) == "Hello, Ann!"
