"""`Worker.run`: a worker as the program, which owns its loop, its signals and its ports."""

import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import anyio
import pytest

from docket import Docket, Execution, ExecutionState, Worker
from docket.instrumentation.http_server import CannotListen
from docket.worker import default_fallback_task
from stress.ports import free_ports
from tests.support import cli_tasks
from tests.support.dockets import PATIENCE, in_background, result_of, soon
from tests.support.programs import ROOT, docket_program, environment
from tests.support.scrapes import Scrape, probe
from tests.support.store import until

pytestmark = pytest.mark.anyio

TASKS = ["tests.support.cli_tasks:tasks"]


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


@pytest.mark.statement(11)
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [None, signal.SIGTERM, signal.SIGINT])
async def test_each_signal_is_told_and_the_second_interrupts(
    docket: Docket,
    server: str,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    first: signal.Signals,
    second: signal.Signals | None,
) -> None:
    caplog.set_level(logging.INFO, "docket.worker")
    fifo = tmp_path / "release"
    os.mkfifo(fifo)
    docket.register(cli_tasks.hold_until_released)
    execution = await docket.add(cli_tasks.hold_until_released)(str(fifo))

    async with in_background(Worker.run(docket.name, server, name="w", tasks=TASKS)) as running:
        await until(lambda: any("↬" in m or "↪" in m for m in caplog.messages))
        del caplog.records[:]
        os.kill(os.getpid(), first)
        await until(lambda: any("Shutdown requested" in m for m in caplog.messages))
        assert caplog.messages == [
            f"Received {first.name}, initiating graceful shutdown...",
            "Shutdown requested, finishing 1 active tasks...",
        ]
        if second is not None:
            os.kill(os.getpid(), second)
            told = f"Received {second.name}, initiating graceful shutdown..."
            await until(lambda: told in caplog.messages[2:])
        # It is at work in a thread, which ends first.
        fifo.write_text("released")
        assert await soon(running) is None

    await execution.sync()
    if second is None:
        assert execution.state is ExecutionState.COMPLETED
    else:
        assert execution.state is ExecutionState.QUEUED


@pytest.mark.statement(11)
async def test_two_cancellations_without_a_signal_are_its_callers(
    docket: Docket, server: str
) -> None:
    docket.register(cli_tasks.hold_for_ever)
    execution = await docket.add(cli_tasks.hold_for_ever)()
    async with in_background(Worker.run(docket.name, server, tasks=TASKS)) as running:
        await until(lambda: _is_running(execution))
        for _ in range(2):
            running.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await soon(running)


async def _is_running(execution: Execution) -> bool:
    await execution.sync()
    return execution.state is ExecutionState.RUNNING


@pytest.mark.statement(7)
async def test_an_empty_text_is_no_setting(
    docket: Docket, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Worker] = []

    async def notes(worker: Worker) -> None:
        made.append(worker)

    monkeypatch.setattr(Worker, "run_until_finished", notes)
    for names in ([""], ["", ""], ["", *TASKS], []):
        await soon(
            Worker.run(
                docket.name,
                server,
                name="",
                tasks=names,
                fallback_task="",
                dependencies="",
                until_finished=True,
            )
        )
        worker = made[-1]
        assert worker.name == f"{socket.gethostname()}#{os.getpid()}"
        assert worker.fallback_task is default_fallback_task
        assert worker.dependencies == {}
    assert [set(worker.docket.tasks) >= {"trace", "fail", "sleep"} for worker in made] == [True] * 4
    assert ["greet" in worker.docket.tasks for worker in made] == [False, False, True, False]


@pytest.mark.statement(7)
async def test_an_empty_name_or_url_is_that_of_the_default_docket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[Docket] = []

    async def opens(docket: Docket) -> Docket:
        opened.append(docket)
        raise ZeroDivisionError

    monkeypatch.setattr(Docket, "__aenter__", opens)
    with pytest.raises(ZeroDivisionError):
        await Worker.run("", "")
    assert (opened[0].name, opened[0].url) == ("docket", "redis://localhost:6379/0")


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
    docket: Docket, server: str
) -> None:
    docket.register(cli_tasks.greet)
    health_port, metrics_port = free_ports(2)
    options = (
        *("--docket", docket.name, "--url", server, "--name", "w", "--tasks", TASKS[0]),
        *("--healthcheck-port", str(health_port), "--metrics-port", str(metrics_port)),
    )

    async with docket_program("worker", *options) as program:
        execution = await docket.add(cli_tasks.greet)("Ann")
        await execution.get_result(timeout=PATIENCE)
        assert await probe(health_port) == (200, "OK")
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
