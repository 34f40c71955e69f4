"""A server that goes away, as an operator sees it: what is told, and how long a stop takes."""

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from docket import Disposition, Docket
from docket.errors import ServerUnavailable
from docket.store.connection.retrying import PATIENCE_SECONDS
from supervisor.ctl.commands import ctl
from tests.support.dockets import knowing
from tests.support.pool_tasks import nap, tasks
from tests.support.servers import Process, machinery, valkey
from tests.support.store import until
from tests.support.supervised import Program, supervised

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

#: The promise is 1.4 s; here others are at work on the machine, too.
NOTICED_SECONDS = 5.0


@pytest.fixture
def server() -> Iterator[Process]:
    with machinery() as made:
        yield made.server(valkey())


def url_of(server: Process) -> str:
    return f"redis://127.0.0.1:{server.port}/0"


def pool(server: Process, control: Path, *arguments: str) -> Program:
    words = ("--concurrency", "1", "--control", str(control), *arguments)
    return supervised("--url", url_of(server), *words)


def shown(control: Path) -> str:
    result = CliRunner().invoke(ctl, ["--control", str(control), "status"])
    return result.output


async def test_a_pool_with_every_place_busy_notices_an_outage_and_says_so_everywhere(
    server: Process, tmp_path: Path
) -> None:
    control = tmp_path / "control.sock"
    with pool(server, control, "--drain-timeout", "1s") as program:
        program.wait_for("pool ready")
        async with knowing(Docket("d", url_of(server)), tasks) as docket:
            for _ in range(2):
                await docket.add(nap)(600)
            program.until(lambda: program.status()["totals"]["started"] == 2, "never started")
            assert program.get("/readyz")[0] == 200
            server.kill()
            gone = time.monotonic()
            program.until(lambda: program.get("/readyz") == (503, "server away\n"), "ready")
            assert time.monotonic() - gone < NOTICED_SECONDS
            status = program.status()["supervisor"]
            assert (status["ready_workers"], status["not_ready_because"]) == (0, "server away")
            assert "0 of 2 workers ready" in shown(control)
            assert "the server is away: " in shown(control)
            assert 'docket_supervisor_workers{state="waiting"} 2.0' in program.get("/metrics")[1]
            server.start()
            program.until(lambda: "2 of 2 workers ready" in shown(control), "not ready again")
            assert program.get("/readyz")[0] == 200
        assert program.end() == 0


@pytest.mark.parametrize("busy", [False, True])
async def test_a_pool_is_stopped_within_its_time_while_the_server_is_away(
    server: Process, tmp_path: Path, *, busy: bool
) -> None:
    with pool(server, tmp_path / "c.sock", "--drain-timeout", "4s") as program:
        program.wait_for("pool ready")
        async with knowing(Docket("d", url_of(server)), tasks) as docket:
            if busy:
                await docket.add(nap)(600)
                program.until(lambda: program.status()["totals"]["started"] == 1, "not started")
        server.kill()
        program.until(lambda: program.get("/readyz")[0] == 503, "ready")
        asked = time.monotonic()
        assert program.end(signal.SIGTERM) == 0
        took = time.monotonic() - asked
    assert took < (4.0 + NOTICED_SECONDS if busy else NOTICED_SECONDS)
    assert not busy or took > 3.5
    assert "ignored its drain" not in program.log
    assert "GIL" not in program.log
    assert ("left for another pool to redeliver (the server is away)" in program.log) is busy


async def test_a_pool_whose_workers_are_all_stopped_is_not_ready(
    server: Process, tmp_path: Path
) -> None:
    with pool(server, tmp_path / "c.sock") as program:
        program.wait_for("pool ready")
        pids = list(program.workers().values())
        assert len(pids) == 2
        for each in program.family():
            if each.pid in pids:
                each.suspend()
        program.until(lambda: program.get("/readyz") == (503, "every worker is silent\n"), "ready")
        assert program.status()["supervisor"]["ready_workers"] == 0
        for each in program.family():
            each.resume()
        program.until(lambda: program.get("/readyz")[0] == 200, "not ready again")
        assert program.end() == 0


async def test_many_adds_neither_lose_nor_double_a_task_while_their_server_is_killed() -> None:
    count = 20_000
    with machinery() as made:
        # What is acknowledged is on disk; what is not may be, too.
        server = made.server(valkey(), appendonly="yes", appendfsync="always")
        async with knowing(Docket("d", url_of(server)), tasks) as docket:
            calls = [docket.call(nap, key=f"k{n}")(0.0) for n in range(count)]
            adding = asyncio.create_task(docket.add_many(calls, chunk_size=500))
            for part in (1, 2, 3):
                await until(lambda part=part: server.client.xlen("{d}:stream") > part * count // 5)
                assert not adding.done()
                server.kill()
                server.start()

            executions = await adding

            assert {execution.disposition for execution in executions} == {Disposition.SCHEDULED}
            entries = server.client.xrange("{d}:stream")
            assert [fields["k"] for _, fields in entries] == [call.key for call in calls]


async def test_many_adds_wait_once_for_a_server_that_stays_away(server: Process) -> None:
    async with knowing(Docket("d", url_of(server)), tasks) as docket:
        await docket.add(nap)(0.0)
        server.kill()
        asked = time.monotonic()
        with pytest.raises(ServerUnavailable):
            await docket.add_many([docket.call(nap)(0.0) for _ in range(2_000)])
        assert time.monotonic() - asked < 2 * PATIENCE_SECONDS
