import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from docket import Docket, Execution, ExecutionState
from supervisor.demo.audit import total
from supervisor.demo.command import rows
from supervisor.demo.pool_view import Kill, PoolView
from supervisor.demo.tasks import parse_file
from supervisor.observer import (
    AdoptionFinished,
    FirstRedelivered,
    PoolReady,
    ServerStarted,
    Stopped,
    WorkerDied,
    WorkerReady,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until it is killed."""
    command = [sys.executable, "-c", "import signal; signal.pause()"]
    with subprocess.Popen(command) as process:
        yield process
        process.kill()


class Watched:
    """A view of a pool with workers `h#1` and `h#2`, both ready, and the lines it writes."""

    def __init__(self, first_pid: int = 101) -> None:
        self.lines: list[str] = []
        self.view = PoolView(self.lines.append)
        self.view(ServerStarted("unix:///s", 1.0))
        self.view(WorkerReady(2, 102, "h#2", 1, 1.0))
        self.view(WorkerReady(1, first_pid, "h#1", 1, 1.0))
        self.view(PoolReady(2, 1.0))

    @property
    def rows(self) -> dict[str, str]:
        return dict(rows(total([], []), 1.0, self.view))


def running_in(worker: str | None, state: ExecutionState = ExecutionState.RUNNING) -> Execution:
    docket = Docket("d", "memory://")
    execution: Any = Execution(docket, parse_file, (), {}, "k", datetime.now(UTC), 1)
    execution.state, execution.worker = state, worker
    return execution


async def test_the_pool_is_ready_once_and_gives_the_url_of_its_server() -> None:
    watched = Watched()
    assert await watched.view.ready() == "unix:///s"
    assert watched.view.pids() == [101, 102]
    assert watched.lines == []


async def test_the_worker_that_runs_most_is_killed(victim: subprocess.Popen[bytes]) -> None:
    watched = Watched(victim.pid)
    ended = running_in("h#2", ExecutionState.COMPLETED)
    running = [running_in("h#2"), ended, ended, *[running_in("h#1")] * 3, running_in(None)]
    watched.view.kill_busiest(running)
    kill = watched.view.kill
    assert kill is not None
    assert (kill.slot, kill.pid, kill.running) == (1, victim.pid, 3)
    assert victim.wait(10) == -9
    assert watched.lines == [f"halfway: kill -9 {victim.pid} (worker 1, in the middle of 3 files)"]


async def test_no_worker_is_killed_while_none_runs_anything() -> None:
    watched = Watched()
    watched.view.kill_busiest([running_in("h#1", ExecutionState.QUEUED)])
    watched.view.kill_busiest([running_in("h#9")])
    assert watched.view.kill is None
    await watched.view.settled()


async def test_what_follows_a_kill_is_timed_from_the_kill() -> None:
    watched = Watched()
    view = watched.view
    view.kill = Kill(1, 101, 3, 10.0)
    view(WorkerDied(1, 101, "h#1", "killed by SIGKILL", False, 10.001))
    view(AdoptionFinished(1, "h#1.x", 3, (), 0.01, 10.011))
    view(FirstRedelivered(1, "h#1.x", 10.001, 10.038))
    view(WorkerReady(1, 103, "h#1", 1, 10.05))
    await view.settled()
    assert watched.rows["tasks redelivered"] == "3"
    assert watched.rows["from the kill to the first redelivered start"] == "38 ms"
    assert watched.rows["workers killed"] == "1"
    assert "workers that died by themselves" not in watched.rows
    assert watched.lines == [
        "the first of its files started again, 38 ms after the kill",
        "worker 1 is back, pid 103",
    ]


async def test_a_kill_that_found_nothing_running_is_settled_without_a_redelivery() -> None:
    watched = Watched()
    watched.view.kill = Kill(1, 101, 1, 10.0)
    watched.view(AdoptionFinished(1, "h#1.x", 0, (), 0.01, 10.011))
    await watched.view.settled()
    assert watched.rows["tasks redelivered"] == "0"
    assert watched.rows["from the kill to the first redelivered start"] == "-"


async def test_no_redelivery_stands_beside_a_number_of_none() -> None:
    watched = Watched()
    view = watched.view
    view.kill = Kill(1, 101, 3, 10.0)
    view(AdoptionFinished(1, "h#1.x", 0, (), 0.01, 10.011))
    view(FirstRedelivered(1, "h#1.x", 10.001, 10.038))
    assert watched.rows["tasks redelivered"] == "1"
    view(AdoptionFinished(1, "h#1.x", 3, (), 0.05, 10.051))
    assert watched.rows["tasks redelivered"] == "3"


async def test_a_first_start_is_waited_for_if_the_records_tell_of_a_redelivery() -> None:
    watched = Watched()
    view = watched.view
    view.kill = Kill(1, 101, 3, 10.0)
    view.interrupted_tasks = 2
    view(AdoptionFinished(1, "h#1.x", 0, (), 0.01, 10.011))
    settled = asyncio.create_task(view.settled())
    await asyncio.sleep(0)
    assert not settled.done()
    view(FirstRedelivered(1, "h#1.x", 10.001, 10.038))
    await settled
    assert watched.rows["tasks redelivered"] == "2"


async def test_deaths_and_redeliveries_of_others_are_counted_and_not_taken_for_the_kill() -> None:
    watched = Watched()
    view = watched.view
    view(WorkerDied(2, 102, "h#2", "killed by SIGSEGV", False, 5.0))
    view(AdoptionFinished(2, "h#2.x", 2, (), 0.01, 5.01))
    view(FirstRedelivered(2, "h#2.x", 5.0, 5.02))
    view.kill = Kill(1, 101, 1, 10.0)
    view(FirstRedelivered(2, "h#2.y", 5.0, 10.02))
    view(WorkerDied(1, 101, "h#1", "drained", True, 11.0))
    view(Stopped(0, None, 12.0))
    assert watched.rows["workers that died by themselves"] == "1"
    assert watched.rows["tasks redelivered"] == "2"
    assert watched.rows["from the kill to the first redelivered start"] == "-"
    assert view.pids() == []
