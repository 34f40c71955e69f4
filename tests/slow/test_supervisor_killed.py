"""What is left when the supervisor itself is killed in the middle of something: nothing."""

import os
import signal
from pathlib import Path

import anyio
import psutil
import pytest

from docket import Docket
from tests.slow.test_rolling import pool_in, write_jobs
from tests.support.parameters import sets_in_full
from tests.support.supervised import ROOT, Program, supervised

pytestmark = [pytest.mark.timeout(120)]

HANGS = "import time\ntime.sleep(600)\n"
#: What docs/operations/troubleshooting.md gives the orphans after their --drain-timeout, and some
#: for the machine.
ALLOWED_SECONDS = 20.0


def kill_and_wait(program: Program) -> list[psutil.Process]:
    """Kill the supervisor alone; what is left after the time that its orphans have."""
    family = program.family()
    assert family
    program.send(signal.SIGKILL)
    program.process.wait(ALLOWED_SECONDS)
    return psutil.wait_procs(family, timeout=ALLOWED_SECONDS)[1]


def test_a_nursery_that_imports_for_ever_does_not_outlive_a_supervisor_killed_while_it_boots(
    tmp_path: Path,
) -> None:
    (tmp_path / "jobs.py").write_text(HANGS)
    options = ("--tasks", "jobs:tasks", "--url", "memory://", "--stall-warning", "1s")
    environment = {"PYTHONPATH": str(ROOT), "PWD": str(tmp_path)}
    with Program(options, cwd=tmp_path, environment=environment) as program:
        program.wait_for("is still importing the task modules")
        assert kill_and_wait(program) == []


def test_a_nursery_that_was_stopped_is_woken_by_the_end_of_its_killed_supervisor(
    tmp_path: Path,
) -> None:
    write_jobs(tmp_path, 1)
    with pool_in(tmp_path, "--drain-timeout", "1s") as program:
        os.kill(program.nursery_pid, signal.SIGSTOP)
        assert kill_and_wait(program) == []


def test_a_nursery_that_imports_for_ever_does_not_outlive_a_supervisor_killed_while_it_reloads(
    tmp_path: Path,
) -> None:
    write_jobs(tmp_path, 1)
    with pool_in(tmp_path, "--drain-timeout", "1s", "--stall-warning", "1s") as program:
        (tmp_path / "jobs.py").write_text(HANGS)
        program.send(signal.SIGHUP)
        program.wait_for("the nursery of generation 2 .* is still importing the task modules")
        assert kill_and_wait(program) == []


def test_a_successor_that_imports_for_ever_does_not_outlive_its_killed_supervisor(
    tmp_path: Path,
) -> None:
    write_jobs(tmp_path, 1)
    options = ("--drain-timeout", "1s", "--stall-warning", "1s", "--no-preload")
    with pool_in(tmp_path, *options, processes=1) as program:
        (tmp_path / "jobs.py").write_text(HANGS)
        program.send(signal.SIGHUP)
        program.wait_for(r"worker 1 .*(still starting|where it is)")
        assert kill_and_wait(program) == []


ORPHANS = """
import asyncio, ctypes, os, signal, subprocess

async def hold():
    ctypes.PyDLL(None).sleep(600)      # C code that keeps the GIL, without any use of a CPU

async def spawn():
    subprocess.Popen(["sleep", "600"])
    subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 600 & wait; wait"])

async def stop():
    os.kill(os.getpid(), signal.SIGSTOP)

async def wait():
    await asyncio.sleep(600)

tasks = [hold, spawn, stop, wait]
"""


def added(url: str, *names: str) -> None:
    """Add tasks that the pool has, by name."""

    async def add() -> None:
        async with Docket("d", url) as docket:
            for name in names:

                async def task() -> None: ...

                task.__name__ = name
                await docket.add(task)()

    anyio.run(add)


def silent_seconds(program: Program) -> float:
    """The time since its worker was heard, or began if the task silenced it before that."""
    worker = program.status()["workers"][0]
    age = worker["heartbeat_age_seconds"]
    return worker["uptime_seconds"] if age is None else age


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (("hold",), "supervisor"),
        (("stop",), "nursery"),
        (("spawn", "wait"), "nursery"),
        ((), "supervisor"),
        *sets_in_full(
            (("hold",), "nursery"),
            (("spawn",), "supervisor"),
            (("spawn",), "nursery"),
            (("stop",), "supervisor"),
            (("spawn", "wait"), "supervisor"),
            ((), "nursery"),
        ),
    ],
)
def test_no_worker_and_no_subprocess_outlives_supervisor_and_nursery_killed_together(
    tmp_path: Path, names: tuple[str, ...], first: str
) -> None:
    (tmp_path / "jobs.py").write_text(ORPHANS)
    options = ("--tasks", "jobs:tasks", "--drain-timeout", "1s", "--concurrency", "2")
    url = f"embedded://{tmp_path}/db"
    environment = {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
    with supervised(*options, url=url, processes=1, environment=environment) as program:
        program.wait_for("pool ready")
        if names:
            added(program.url, *names)
            program.until(
                lambda: (
                    program.status()["totals"]["started"] == len(names)
                    or silent_seconds(program) > 1
                ),
                "never started",
            )
        family = program.family()
        victims = [program.process.pid, program.nursery_pid]
        for pid in victims if first == "supervisor" else reversed(victims):
            os.kill(pid, signal.SIGKILL)
        program.process.wait(ALLOWED_SECONDS)
        assert psutil.wait_procs(family, timeout=ALLOWED_SECONDS)[1] == []
