"""What is left when the supervisor itself is killed in the middle of something: nothing."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.slow.test_rolling import pool_in, write_jobs
from tests.support.supervised import ROOT, Program

pytestmark = [pytest.mark.timeout(120)]

HANGS = "import time\ntime.sleep(600)\n"
#: What docs/operations.md gives the orphans after their --drain-timeout, and some for the machine.
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
