"""The program as PID 1 of a container: in a PID namespace of its own, with its own /proc.

And as the deployment files would have it: no capability, a root that is read-only, one folder.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psutil
import pytest

from tests.support.embedded import folder
from tests.support.service_tasks import leave_a_reader, nap, tasks
from tests.support.supervised import Program, supervised

__all__ = ["folder"]

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

PROGRAM = (sys.executable, "-m", "supervisor.cli")
#: As root, and as anyone where the kernel lets users have namespaces of their own.
WAYS = ((), ("--user", "--map-root-user"))


@cache
def container() -> tuple[str, ...] | None:
    """The command that makes its argument PID 1, or None where that is not allowed."""
    for way in WAYS:
        command = ("unshare", *way, "--pid", "--fork", "--kill-child", "--mount-proc")
        with contextlib.suppress(OSError):
            if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
                return command
    return None


@pytest.fixture
def as_pid_1() -> tuple[str, ...]:
    command = container()
    if command is None:
        pytest.skip("no PID namespace may be made here (unshare --pid --mount-proc refuses)")
    return (*command, *PROGRAM)


@contextlib.contextmanager
def ready(
    command: tuple[str, ...], environment: dict[str, str] | None = None
) -> Iterator[tuple[Program, psutil.Process]]:
    """A pool in it, and its supervisor as it is seen from outside."""
    tasks_of = ("--tasks", "tests.support.service_tasks:tasks")
    with supervised(*tasks_of, command=command, environment=environment or {}) as program:
        program.wait_for("pool ready")
        (supervisor,) = psutil.Process(program.process.pid).children()
        yield program, supervisor


def seen_from_outside(program: Program, pid: int) -> psutil.Process:
    """The process that is `pid` in there."""
    for each in program.family():
        found = re.search(r"^NSpid:.*\s(\d+)$", status_of(each.pid), re.MULTILINE)
        if found is not None and int(found[1]) == pid:
            return each
    raise AssertionError(f"there is no pid {pid} in there")


def status_of(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def readers_of(process: psutil.Process) -> list[psutil.Process]:
    """Its own children, zombies included, that `leave_a_reader` left."""
    return [each for each in process.children() if each.name() == "cat"]


async def test_it_is_pid_1_and_reaps_what_a_task_left_behind(
    as_pid_1: tuple[str, ...], tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with ready(as_pid_1) as (program, supervisor):
        assert program.status()["supervisor"]["pid"] == 1
        async with program.docket(tasks) as docket:
            left = await docket.add(leave_a_reader)(str(fifo))
            await left.get_result()
        program.until(lambda: len(readers_of(supervisor)) == 1, "it is nobody's yet")
        with fifo.open("w"):
            pass  # the reader sees the end, and ends
        program.until(lambda: readers_of(supervisor) == [], "a zombie is left")
        supervisor.send_signal(signal.SIGTERM)
        assert program.code() == 0


async def test_term_drains_and_its_exit_code_is_that_of_the_container(
    as_pid_1: tuple[str, ...],
) -> None:
    with ready(as_pid_1) as (program, supervisor):
        async with program.docket(tasks) as docket:
            napping = await docket.add(nap)(1.5)
            program.wait_for("↪")
            supervisor.send_signal(signal.SIGTERM)
            assert await napping.get_result() > 1
            assert program.code() == 0


async def test_a_second_term_hands_back_and_the_container_ends_with_0(
    as_pid_1: tuple[str, ...],
) -> None:
    with ready(as_pid_1) as (program, supervisor):
        async with program.docket(tasks) as docket:
            await docket.add(nap)(600)
            program.wait_for("↪")
            supervisor.send_signal(signal.SIGTERM)
            program.wait_for("draining")
            program.outwait_echoes()
            supervisor.send_signal(signal.SIGINT)
            assert program.code() == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("--processes", "none"), 2), (("--tasks", "nowhere:tasks", "--url", "memory://"), 3)],
    ids=["wrong usage", "boot failure"],
)
def test_a_failure_has_its_code(
    as_pid_1: tuple[str, ...], arguments: tuple[str, ...], code: int
) -> None:
    with Program(arguments, command=as_pid_1) as program:
        assert program.code() == code
    assert program.lines[-1].startswith("docket-supervisor: ")


def test_nothing_is_left_in_the_container_of_a_killed_supervisor(
    as_pid_1: tuple[str, ...],
) -> None:
    with ready(as_pid_1) as (program, supervisor):
        family = program.family()
        assert len(family) >= 4
        supervisor.kill()
        gone, alive = psutil.wait_procs(family, timeout=10)
        assert alive == []
        assert len(gone) == len(family)


#: Makes the root read-only and the folder $0 a file system of its own, gives every privilege away,
#: and becomes its arguments.
LOCKED = """
mount -o remount,bind,ro / && mount -t tmpfs tmpfs "$0" &&
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs -- "$@"
"""


def test_it_runs_without_privileges_on_a_root_that_is_read_only(
    as_pid_1: tuple[str, ...], folder: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may mount the root read-only")
    unshare = as_pid_1[: -len(PROGRAM)]
    command = (*unshare, "sh", "-c", LOCKED, str(folder), *PROGRAM)
    # Coverage of these processes would be written to the root.
    writable = {"TMPDIR": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    unmeasured = {"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}
    with ready(command, environment=writable | unmeasured) as (program, supervisor):
        assert re.search(r"^CapEff:\s+0+$", status_of(supervisor.pid), re.MULTILINE)
        assert re.search(r"^NoNewPrivs:\s+1$", status_of(supervisor.pid), re.MULTILINE)
        mounts = Path(f"/proc/{supervisor.pid}/mounts").read_text()
        assert re.findall(r"^\S+ / \S+ (\w+)", mounts, re.MULTILINE) == ["ro"]

        before = program.workers()
        seen_from_outside(program, before[1]).kill()
        program.wait_for(r"worker 1 \(pid \d+\) died: killed by SIGKILL")
        program.until(lambda: program.workers().get(1, before[1]) != before[1], "never replaced")
        supervisor.send_signal(signal.SIGTERM)
        assert program.code() == 0
    assert not [line for line in program.lines if " WARNING " in line and " died: " not in line]
    assert not [line for line in program.lines if " ERROR " in line]
