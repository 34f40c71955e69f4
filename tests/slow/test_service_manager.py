"""The real program under a service manager: a real datagram socket, and what is told on it."""

import asyncio
import itertools
import os
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from supervisor.config import SupervisorConfig
from supervisor.observer import PoolEvent, PoolReady
from supervisor.pool.state.worker_registry import LATE_SECONDS
from supervisor.supervisor import Supervisor
from supervisor.systemd.messages import EXTENSION_SECONDS
from tests.support.parameters import in_full
from tests.support.service_managers import Notice, ServiceManager
from tests.support.service_tasks import tasks, wait_for
from tests.support.supervised import ROOT, Program, supervised

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

TASKS = "tests.support.service_tasks:tasks"


@contextmanager
def served(
    folder: Path,
    *arguments: str,
    watchdog_seconds: float | None = None,
    path: bool = True,
    environment: dict[str, str] | None = None,
) -> Iterator[tuple[Program, ServiceManager]]:
    """A pool of two whose service manager has heard that it is ready."""
    with ServiceManager(folder / "notify.sock" if path else None) as manager:
        told = manager.environment(watchdog_seconds) | (environment or {})
        with supervised("--tasks", TASKS, *arguments, environment=told) as program:
            manager.wait_for("READY=1")
            yield program, manager


def signs_of_life(notices: list[Notice]) -> list[float]:
    return [each.at for each in notices if "WATCHDOG=1" in each]


@pytest.mark.parametrize("path", [True, *in_full(False)], ids=["path", "abstract"])
def test_from_the_boot_to_the_end(tmp_path: Path, path: bool) -> None:
    with served(tmp_path, path=path) as (program, manager):
        assert len(program.workers()) == 2
        first, *_, ready = manager.notices
        assert (first.value("STATUS") or "").startswith("starting: ")
        assert first.value("EXTEND_TIMEOUT_USEC") == str(int(EXTENSION_SECONDS * 1e6))
        assert ready.value("STATUS") == "2 of 2 workers ready"
        assert program.end() == 0
        stopping = manager.wait_for("STOPPING=1")
        assert (stopping.value("STATUS") or "").startswith("draining: 0 tasks left in ")
        assert sum("READY=1" in each for each in manager.notices) == 1


def test_whoever_is_started_knows_no_service_manager(tmp_path: Path) -> None:
    with served(tmp_path, watchdog_seconds=60) as (program, _):
        environments = [each.environ() for each in program.family()]
        assert len(environments) >= 3
        for each in environments:
            assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & each.keys()
        assert program.end() == 0


def test_a_lost_worker_is_told_and_so_is_its_successor(tmp_path: Path) -> None:
    with served(tmp_path) as (program, manager):
        count = manager.count
        os.kill(program.nursery_pid, signal.SIGSTOP)  # nobody is forked until it goes on
        os.kill(program.workers()[1], signal.SIGKILL)
        manager.wait_for_status(r"^1 of 2 workers ready$", count)
        os.kill(program.nursery_pid, signal.SIGCONT)
        manager.wait_for_status(r"^2 of 2 workers ready$", count)
        assert program.end() == 0


async def test_a_long_drain_asks_for_its_time_and_tells_what_is_left(tmp_path: Path) -> None:
    done = tmp_path / "done"
    with served(tmp_path, "--drain-timeout", "60s") as (program, manager):
        async with program.docket(tasks) as docket:
            execution = await docket.add(wait_for)(str(done))
            program.wait_for("↪")
            count = manager.count
            program.send(signal.SIGTERM)
            stopping = manager.wait_for("STOPPING=1", count)
            assert stopping.value("EXTEND_TIMEOUT_USEC") is not None
            manager.wait_for_status(r"^draining: 1 task left in 1 worker$", count)
            after = manager.count
            more = manager.wait_for(
                lambda each: each.value("EXTEND_TIMEOUT_USEC") is not None, after
            )
            assert more.at - stopping.at < EXTENSION_SECONDS
            done.touch()
            await execution.get_result()
            assert program.code() == 0


def test_signs_of_life_come_at_half_of_the_time(tmp_path: Path) -> None:
    with served(tmp_path, watchdog_seconds=3) as (program, manager):
        count = manager.count
        program.until(lambda: len(signs_of_life(manager.since(count))) >= 6, "too few")
        beats = signs_of_life(manager.since(count))
        gaps = [after - before for before, after in itertools.pairwise(beats)]
        assert max(gaps) < 3
        assert 1.4 < statistics.median(gaps) < 2.2
        assert program.end() == 0


def test_a_server_that_answers_nobody_takes_no_life_away(tmp_path: Path) -> None:
    with served(tmp_path, watchdog_seconds=3) as (program, manager):
        with redis.Redis(unix_socket_path=program.url.removeprefix("unix://")) as client:
            server = int(client.info("server")["process_id"])
        count = manager.count
        os.kill(server, signal.SIGSTOP)
        try:
            manager.wait_for_status("^0 of 2 workers ready; the server is away: ", count)
            away = manager.count
            program.until(lambda: len(signs_of_life(manager.since(away))) >= 4, "withheld")
            beats = signs_of_life(manager.since(count))
            gaps = [after - before for before, after in itertools.pairwise(beats)]
            assert max(gaps) < 3
        finally:
            os.kill(server, signal.SIGCONT)
        manager.wait_for_status("^2 of 2 workers ready$", away)
        assert program.end() == 0


def test_workers_that_are_all_stopped_get_no_sign_of_life_until_one_goes_on(
    tmp_path: Path,
) -> None:
    arguments = ("--stall-warning", "8s", "--stall-timeout", "60s")
    with served(tmp_path, *arguments, watchdog_seconds=2) as (program, manager):
        workers = program.workers().values()
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        stopped_at = time.monotonic()
        for slot in (1, 2):
            program.wait_for(rf"worker {slot} \(pid \d+\) has been silent for ")
        beats = signs_of_life(manager.since(0))
        # The last heartbeats may have been read a little after they were sent.
        assert max(beats) < stopped_at + LATE_SECONDS + 2
        assert time.monotonic() > stopped_at + LATE_SECONDS + 4
        count = manager.count
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        manager.wait_for("WATCHDOG=1", count)
        assert program.end() == 0


MODULE = """
async def version() -> int:
    return {version}
tasks = [version]
"""


@contextmanager
def reloadable(folder: Path) -> Iterator[tuple[Program, ServiceManager, Path]]:
    """The same, and the module that a reload picks up."""
    module = folder / "rolling.py"
    module.write_text(MODULE.format(version=1))
    environment = {"PYTHONPATH": f"{ROOT}:{folder}"}
    with served(folder, "--tasks", "rolling:tasks", environment=environment) as (program, manager):
        yield program, manager, module


def test_a_hangup_is_answered_by_a_newer_reload_and_then_by_readiness(tmp_path: Path) -> None:
    with reloadable(tmp_path) as (program, manager, module):
        module.write_text(MODULE.format(version=2))
        count, begun = manager.count, time.monotonic()
        program.send(signal.SIGHUP)
        reloading = manager.wait_for("RELOADING=1", count)
        assert int(reloading.value("MONOTONIC_USEC") or 0) >= int(begun * 1e6)
        assert (reloading.value("STATUS") or "").startswith("reloading: ")
        assert reloading.value("EXTEND_TIMEOUT_USEC") is not None
        ready = manager.wait_for("READY=1", count)
        assert reloading.at <= ready.at
        assert ready.value("STATUS") == "2 of 2 workers ready"
        assert program.status()["supervisor"]["generation"] == 2
        assert program.end() == 0


def test_a_reload_that_fails_ends_in_readiness_too_and_says_why(tmp_path: Path) -> None:
    with reloadable(tmp_path) as (program, manager, module):
        module.write_text("import nothing_of_that_name")
        count, before = manager.count, program.workers()
        program.send(signal.SIGHUP)
        manager.wait_for("RELOADING=1", count)
        told = manager.wait_for("READY=1", count).value("STATUS") or ""
        assert told.startswith("2 of 2 workers ready; the last reload failed: ")
        assert "nothing_of_that_name" in told
        assert program.workers() == before
        assert program.end() == 0


async def test_a_guest_leaves_the_talking_to_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ServiceManager(tmp_path / "notify.sock") as manager:
        for name, value in manager.environment(2.0).items():
            monkeypatch.setenv(name, value)
        ready = asyncio.Event()

        def observe(event: PoolEvent) -> None:
            if isinstance(event, PoolReady):
                ready.set()

        config = SupervisorConfig(processes=1, tasks=(TASKS,), url="memory://", docket="d")
        supervisor = Supervisor(config, on_event=observe)
        serving = asyncio.create_task(supervisor.serve())
        async with asyncio.timeout(30):
            await ready.wait()
        supervisor.stop()
        assert await serving == 0
        assert manager.count == 0
