"""The control socket: requests, answers, and its life with the pool."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ipc import control as messages
from ipc.control import (
    PROTOCOL,
    ControlHello,
    Done,
    DrainRequest,
    DumpRequest,
    Refused,
    ReloadRequest,
    Report,
    Request,
    RestartRequest,
    ScaleBetweenRequest,
    ScaleRequest,
    StatusRequest,
)
from ipc.framing import encode
from supervisor.config import SupervisorConfig
from supervisor.control import claim, server, session
from supervisor.control.server import ControlServer
from supervisor.errors import ControlInUse, NoPlace
from supervisor.inbox import Inbox
from supervisor.pool.state import pool_commands
from supervisor.pool.state.inbox_events import CommandReceived
from supervisor.process_range import ProcessRange
from tests.support.control import GREETING, REPORT, Caller, names_in, served

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pool.sock"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give clients 0.1 s instead of five."""
    monkeypatch.setattr(session, "PATIENCE_SECONDS", 0.1)


# Requests and answers.


async def test_the_status_is_the_json_of_the_report(path: Path) -> None:
    async with served(path) as pool:
        caller = await pool.caller()
        answers = [await caller.ask(StatusRequest()) for _ in range(3)]
        await caller.close()
    expected = '{"supervisor": {"pid": 1, "state": "running", "docket": "orders"}, '
    assert answers == [Report(expected + '"workers": [], "totals": {}}')] * 3


@pytest.mark.parametrize(
    ("request_", "order"),
    [
        (ScaleRequest(3), pool_commands.Scale(3)),
        (ScaleBetweenRequest(2, 16), pool_commands.ScaleBetween(ProcessRange(2, 16))),
        (ReloadRequest(), pool_commands.Reload()),
        (RestartRequest(2), pool_commands.Restart(2)),
        (DumpRequest(), pool_commands.DumpAll()),
        (DrainRequest(), pool_commands.Drain()),
    ],
)
@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        (pool_commands.Done("done"), Done("done")),
        (pool_commands.Refused("why not"), Refused("why not")),
    ],
)
async def test_a_command_goes_to_the_pool_and_its_outcome_comes_back(
    request_: Request,
    order: pool_commands.Command,
    outcome: pool_commands.Outcome,
    answer: messages.Answer,
    path: Path,
) -> None:
    async with served(path) as pool:
        caller = await pool.caller()
        caller.send(request_)
        assert await pool.answer_next(outcome) == order
        assert await caller.receive() == answer
        assert isinstance(await caller.ask(StatusRequest()), Report)
        await caller.close()


async def test_an_answer_may_take_longer_than_a_client_may(path: Path, impatient: None) -> None:
    async with served(path) as pool:
        caller = await Caller.connect(path, GREETING + encode(ReloadRequest()))
        command = await pool.next_command()
        await asyncio.sleep(3 * session.PATIENCE_SECONDS)
        command.answer(pool_commands.Done("done"))
        assert isinstance(await caller.receive(), ControlHello)
        assert await caller.receive() == Done("done")
        await caller.close()


async def test_a_reload_that_is_not_waited_for_is_answered_at_once(path: Path) -> None:
    async with served(path) as pool:
        caller = await pool.caller()
        assert isinstance(await caller.ask(ReloadRequest(wait=False)), Done)
        command = await pool.next_command()
        assert command.command == pool_commands.Reload()
        command.answer(pool_commands.Refused("nobody reads this"))
        assert isinstance(await caller.ask(StatusRequest()), Report)
        await caller.close()


async def test_a_client_that_waits_for_a_drain_is_answered_at_once_and_disconnected_at_its_end(
    path: Path, impatient: None
) -> None:
    async with served(path) as pool:
        caller = await Caller.connect(path, GREETING + encode(DrainRequest(wait=True)))
        await pool.answer_next(pool_commands.Done("draining"))
        assert isinstance(await caller.receive(), ControlHello)
        assert await caller.receive() == Done("draining")
        answer = asyncio.create_task(caller.receive())
        await asyncio.sleep(3 * session.PATIENCE_SECONDS)
        assert not answer.done()
    assert await answer is None
    await caller.close()


async def test_a_drain_that_is_refused_is_not_waited_for(path: Path, impatient: None) -> None:
    async with served(path) as pool:
        caller = await Caller.connect(path, GREETING + encode(DrainRequest(wait=True)))
        await pool.answer_next(pool_commands.Refused("why not"))
        assert (await caller.rest())[1:] == [Refused("why not")]
        await caller.close()


async def test_an_answer_for_a_client_that_has_gone_is_dropped(path: Path) -> None:
    async with served(path) as pool:
        caller = await pool.caller()
        caller.send(ScaleRequest(3))
        command = await pool.next_command()
        await caller.close()
        await pool.still_serves()
        command.answer(pool_commands.Done("done"))
        await pool.still_serves()


async def test_an_answer_reaches_its_client_although_the_pool_ends(
    path: Path,
) -> None:
    async with served(path) as pool:
        caller = await pool.caller()
        caller.send(DrainRequest())
        await pool.answer_next(pool_commands.Done("draining"))
    assert await caller.rest() == [Done("draining")]
    await caller.close()
    assert names_in(path.parent) == set()


async def test_a_client_learns_the_pid_and_whether_the_pool_is_a_guest(path: Path) -> None:
    async with served(path, guest=True):
        caller = await Caller.connect(path)
        assert await caller.receive() == ControlHello(PROTOCOL, os.getpid(), guest=True)
        await caller.close()


async def test_a_report_that_fails_is_refused_and_logged(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    claimed = await claim.claim_given(str(path))

    def fail() -> dict[str, Any]:
        raise RuntimeError("no report")

    serving = ControlServer(claimed, Inbox(), fail, guest=False)
    await serving.start()
    caller = await Caller.connect(path, GREETING)
    await caller.receive()
    assert await caller.ask(StatusRequest()) == Refused("a bug of the supervisor; see its log")
    await caller.close()
    await serving.stop()
    claimed.release()
    assert "no report" in caplog.text


async def test_a_report_that_no_frame_holds_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "MAX_ANSWER", 200)
    async with served(path, {"supervisor": "x" * 300}) as pool:
        caller = await pool.caller()
        answer = await caller.ask(StatusRequest())
        await caller.close()
    assert isinstance(answer, Refused)
    assert "too large" in answer.text


# The life of the socket.


@asynccontextmanager
async def run_with(config: SupervisorConfig) -> AsyncGenerator[None]:
    """Serve the control socket as a supervisor does."""
    async with (
        server.claimed(config) as claimed,
        server.serving(claimed, Inbox(), lambda: REPORT, guest=False),
    ):
        yield


async def test_a_pool_without_a_path_is_served_in_its_runtime_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    caplog.set_level(logging.INFO)
    path = tmp_path / f"orders-{os.getpid()}.sock"
    async with run_with(SupervisorConfig(docket="orders")):
        assert f"control socket: {path}" in caplog.text
        assert names_in(tmp_path) == {path.name, f"{path.name}.lock"}
    assert names_in(tmp_path) == set()


async def test_a_pool_with_a_path_is_served_there_and_a_second_one_is_not(path: Path) -> None:
    config = SupervisorConfig(control=str(path))
    async with run_with(config):
        with pytest.raises(ControlInUse):
            await server.claimed(config).__aenter__()
        caller = await Caller.connect(path)
        assert isinstance(await caller.receive(), ControlHello)
        await caller.close()


async def test_a_pool_that_can_write_nowhere_runs_without_a_control_socket(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def nowhere(_docket: str, _environment: object) -> object:
        raise NoPlace("--control: cannot make the folder /tmp/x: Read-only file system")

    monkeypatch.setattr(server, "claim_default", nowhere)
    async with run_with(SupervisorConfig()):
        assert (
            "no control socket, so `ctl` cannot reach this pool: --control: cannot" in caplog.text
        )


async def test_a_client_that_connects_while_the_pool_ends_is_refused(path: Path) -> None:
    async with served(path) as pool:
        caller = await pool.caller()
    assert await caller.receive() is None
    await caller.close()
    with pytest.raises(FileNotFoundError):
        await Caller.connect(path)


async def test_a_command_reaches_the_pool_once_although_its_client_has_gone(path: Path) -> None:
    async with served(path) as pool:
        caller = await pool.caller()
        caller.send(ScaleRequest(3))
        await caller.close()
        command = await pool.next_command()
        assert isinstance(command, CommandReceived)
        command.answer(pool_commands.Done("done"))
        await pool.still_serves()
