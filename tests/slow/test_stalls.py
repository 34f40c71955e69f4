"""Workers that say nothing, in the real program: what is logged, who dies, whom it counts for."""

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from docket import Execution
from tests.support.parameters import in_full
from tests.support.supervised import Program, ready_pool
from tests.support.victims import (
    STALLING,
    Fragility,
    deaths_of,
    docket_at,
    kill_all,
    no_zombie_in,
    record,
)

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(150), pytest.mark.long]

IMPATIENT = ("--stall-warning", "1s", "--stall-timeout", "3s")


@pytest.fixture
def fragile(tmp_path: Path) -> Fragility:
    return Fragility(tmp_path)


def busy(program: Program, tasks: int) -> None:
    """Returns when the workers have said that so many tasks run."""
    program.until(
        lambda: sum(each["in_flight"] for each in program.status()["workers"]) == tasks,
        f"never {tasks} tasks",
    )


@contextlib.contextmanager
def locked_log(program: Program) -> Iterator[None]:
    """The lock of its stderr is held by a process that writes nothing: by this one.

    A worker holds it so if it is stopped, or C code takes its GIL, just before it writes a line.
    """
    with Path(f"/proc/{program.process.pid}/fd/2").open("wb", buffering=0) as log:
        fcntl.lockf(log, fcntl.LOCK_EX)
        yield


async def fails_as_poison(execution: Execution) -> None:
    with pytest.raises(Exception, match="worker processes died"):
        await execution.get_result()


async def test_of_those_in_a_blocked_worker_only_the_culprit_counts_deaths_until_it_is_poison() -> (
    None
):
    with ready_pool(*STALLING, *IMPATIENT, "--max-deliveries", "2") as program:
        async with docket_at(program.url) as docket:
            innocent = [await docket.add("nap", key=f"innocent-{n}")(600.0) for n in range(4)]
            busy(program, len(innocent))
            culprit = await docket.add("hog", key="culprit")(600.0)
            program.wait_for(
                r"has been silent for .*: the event loop is blocked, in task 'culprit'"
            )
            program.wait_for(r"worker \d \(pid \d+\), where it is:")
            program.wait_for(r"in hog$")
            await fails_as_poison(culprit)
            program.wait_for(r"died: its loop was silent for .* blocked, in task 'culprit'")
        assert {deaths_of(program.url, each.key) for each in innocent} == {0}
        assert deaths_of(program.url, "culprit") == 2
        assert program.status()["totals"]["stalls"] == 2
        program.until(
            lambda: program.status()["totals"]["poisoned"] == 1, "the adopter did not say so"
        )
        program.until(lambda: len(program.workers()) == 2, "never replaced")
        assert no_zombie_in(program)
        assert program.end(signal.SIGQUIT) == 0


async def test_c_code_that_holds_the_gil_is_told_apart_and_found_by_its_stack() -> None:
    arguments = (*STALLING, *IMPATIENT, "--max-deliveries", "1")
    with ready_pool(*arguments, processes=1) as program:
        async with docket_at(program.url) as docket:
            innocent = await docket.add("nap", key="innocent")(600.0)
            busy(program, 1)
            culprit = await docket.add("hold_gil", key="culprit")()
            program.wait_for(r"silent for .*: C code holds the GIL, in hold_gil\(\)")
            await fails_as_poison(culprit)
        assert deaths_of(program.url, innocent.key) == 0
        assert "the process is frozen" not in program.log
        assert "is blocked" not in program.log
        assert program.end(signal.SIGQUIT) == 0


async def test_the_log_tells_of_a_process_that_fell_silent_with_the_lock_of_the_log() -> None:
    arguments = (*STALLING, *IMPATIENT, "--max-deliveries", "1")
    with ready_pool(*arguments, processes=2) as program, locked_log(program):
        async with docket_at(program.url) as docket:
            await fails_as_poison(await docket.add("hold_gil", key="culprit")())
        program.wait_for(r"silent for .*: C code holds the GIL, in hold_gil\(\)")
        program.wait_for(r"died: its loop was silent for")
        assert program.end() == 0


@pytest.mark.parametrize("processes", [1, *in_full(2)])
async def test_a_long_hold_of_the_gil_loses_no_run_to_the_steward_of_another_host(
    server: str, docket_name: str, tmp_path: Path, processes: int
) -> None:
    fifo = tmp_path / "release"
    os.mkfifo(fifo)
    pool = (*STALLING, "--docket", docket_name)
    with ready_pool(*pool, processes=processes, url=server) as program:
        before = program.workers()
        async with docket_at(server, docket_name) as docket:
            task = await docket.add("hold_gil_until_told", key="long")(str(fifo))
            with ready_pool(*pool, processes=1, url=server) as elsewhere:
                program.wait_for(r"has been silent for .*: C code holds the GIL")
                threading.Event().wait(12.0)  # longer than heartbeats may be missed: the point
                os.write(os.open(fifo, os.O_RDWR), b"x")
                assert await task.get_result() in before.values()
                assert elsewhere.end() == 0
        assert program.end() == 0
    log = program.log + elsewhere.log
    assert "counts as dead" not in log
    assert len(re.findall(r"hold_gil_until_told\(.*\)\{long\}", log)) == 2, "its start and its end"
    assert deaths_of(server, "long", docket_name) == 0


@pytest.mark.full  # waits for half a minute; the stalls above are as many
async def test_a_task_that_never_lets_go_of_the_gil_takes_one_worker_at_a_time_and_is_poison() -> (
    None
):
    patience = ("--stall-warning", "1s", "--stall-timeout", "12s")  # longer than a missed heartbeat
    arguments = (*STALLING, *patience, "--max-deliveries", "2")
    with ready_pool(*arguments, processes=4) as program:
        async with docket_at(program.url) as docket:
            culprit = await docket.add("hold_gil", key="culprit")()
            await fails_as_poison(culprit)
        totals = program.status()["totals"]
        assert (totals["stalls"], totals["crashes"]) == (2, 0)
        assert len(re.findall("has been silent for", program.log)) == 2
        assert "counts as dead" not in program.log
        assert program.end() == 0


async def test_the_only_task_of_a_worker_is_the_culprit_even_where_no_stack_names_it() -> None:
    arguments = (*STALLING, *IMPATIENT, "--max-deliveries", "1")
    with ready_pool(*arguments, processes=1) as program:
        async with docket_at(program.url) as docket:
            await fails_as_poison(await docket.add("hold_in_a_child")())
        program.wait_for("C code holds the GIL")
        assert program.end() == 0


async def test_a_frozen_worker_is_replaced_and_its_only_task_is_not_to_blame() -> None:
    arguments = (*STALLING, *IMPATIENT, "--max-deliveries", "1")
    with ready_pool(*arguments) as program:
        before = program.workers()
        async with docket_at(program.url) as docket:
            task = await docket.add("nap", key="innocent")(1.0)
            busy(program, 1)
            pid = next(each["pid"] for each in program.status()["workers"] if each["in_flight"])
            os.kill(pid, signal.SIGSTOP)
            program.wait_for(r"has been silent for .*: the process is frozen")
            program.wait_for(r"died: its loop was silent for .*: the process is frozen; replaced")
            assert await task.get_result() != pid
        assert deaths_of(program.url, "innocent") == 0
        assert program.status()["totals"]["stalls"] == 1
        program.until(lambda: len(program.workers()) == 2, "never replaced")
        assert len(set(before.values()) & set(program.workers().values())) == 1
        assert no_zombie_in(program)
        assert program.end() == 0


async def test_a_worker_that_is_stopped_and_continued_in_time_goes_on_unharmed() -> None:
    arguments = (*STALLING, "--stall-warning", "1s", "--stall-timeout", "10m")
    with ready_pool(*arguments, processes=1) as program:
        before = program.workers()
        async with docket_at(program.url) as docket:
            task = await docket.add("nap")(1.0)
            busy(program, 1)
            os.kill(before[1], signal.SIGSTOP)
            program.wait_for("the process is frozen")
            os.kill(before[1], signal.SIGCONT)
            assert await task.get_result() == before[1]
        assert program.workers() == before
        assert program.status()["totals"]["stalls"] == 0
        assert program.end() == 0


async def test_a_machine_that_was_suspended_kills_nobody() -> None:
    arguments = (*STALLING, "--stall-warning", "1s", "--stall-timeout", "2s")
    with ready_pool(*arguments, "--max-deliveries", "1") as program:
        before = program.workers()
        async with docket_at(program.url) as docket:
            naps = [await docket.add("nap")(3.0) for _ in range(4)]
            busy(program, 4)
            everyone = [program.process.pid, *(each.pid for each in program.family())]
            kill_all(everyone, signal.SIGSTOP)
            threading.Event().wait(6.0)  # longer than any of its timeouts: that is the point
            # The supervisor first: for a moment it runs, and everyone else is still stopped.
            kill_all(everyone, signal.SIGCONT)
            assert {await each.get_result() for each in naps} <= set(before.values())
        assert program.workers() == before
        totals = program.status()["totals"]
        assert (totals["stalls"], totals["crashes"], totals["restarts"]) == (0, 0, 0)
        assert program.end() == 0


@contextlib.contextmanager
def burning() -> Iterator[None]:
    """Every CPU is wanted by two processes of a session of their own."""
    count = 2 * len(os.sched_getaffinity(0))
    burn = "import os\nfor _ in range({}): os.fork() or exec('while os.getppid() != 1: pass')\n"
    command = [sys.executable, "-c", burn.format(count) + "input()"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, start_new_session=True, process_group=None
    ) as burner:
        try:
            yield
        finally:
            os.killpg(burner.pid, signal.SIGKILL)


def yield_to_all(pid: int) -> None:
    """Be nice: the session, where the kernel weighs those first, or else the process.

    Not as nice as can be: a process that is never scheduled does not have its wait counted.
    """
    try:
        Path(f"/proc/{pid}/autogroup").write_text("10")
    except OSError:
        os.setpriority(os.PRIO_PROCESS, pid, 10)


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel keeps no account")
async def test_a_starved_worker_is_told_apart_and_left_alone() -> None:
    arguments = (*STALLING, "--stall-warning", "1s", "--stall-timeout", "3s")
    with ready_pool(*arguments, "--max-deliveries", "1", processes=1) as program:
        before = program.workers()
        async with docket_at(program.url) as docket:
            yield_to_all(before[1])
            with burning():
                await docket.add("crunch")(10.0)
                program.wait_for(r"worker 1 .* has been silent for .*: it waits for a CPU")
                program.wait_for(r"worker 1 .* is starved of CPU, not stuck; it is left alone")
        (worker,) = program.status()["workers"]
        assert (worker["pid"], program.status()["totals"]["stalls"]) == (before[1], 0)


async def test_a_stall_in_a_drain_does_not_hold_it_up_until_its_deadline(
    server: str, docket_name: str
) -> None:
    arguments = (*STALLING, *IMPATIENT, "--drain-timeout", "10m", "--docket", docket_name)
    with ready_pool(*arguments, processes=1, url=server) as program:
        async with docket_at(server, docket_name) as docket:
            await docket.add("hog", key="culprit")(600.0)
            program.wait_for("↪ .*culprit")
            assert program.end() == 0
        program.wait_for(r"died: its loop was silent for .*, in task 'culprit'; not replaced")
    after = record(server, "culprit", docket_name)
    assert (after["state"], deaths_of(server, "culprit", docket_name)) == ("queued", 1)


async def test_a_stall_in_a_worker_that_retires_is_ended_and_blamed_as_any_other() -> None:
    arguments = (*STALLING, *IMPATIENT, "--max-deliveries", "1", "--concurrency", "1")
    with ready_pool(*arguments) as program:
        async with docket_at(program.url) as docket:
            hogs = [await docket.add("hog", key=f"hog-{n}")(600.0) for n in range(2)]
            program.until(lambda: len(re.findall("↪ .*hog-", program.log)) == 2, "never busy")
            program.send(signal.SIGTTOU)
            for each in hogs:
                await fails_as_poison(each)
        program.until(lambda: list(program.workers()) == [1], "never one worker")
        assert program.status()["totals"]["stalls"] == 2
        assert no_zombie_in(program)
        assert program.end() == 0


async def test_a_worker_that_hangs_while_it_starts_is_logged_with_its_stack(
    fragile: Fragility,
) -> None:
    fragile.make("hang-*")
    arguments = ("--stall-warning", "1s", "--boot-timeout", "4s")
    with fragile.pool(*arguments, processes=1) as program:
        program.wait_for(r"worker 1 \(pid \d+\) is still starting after 1\.")
        program.wait_for(r"fragile_tasks\.py.* in _wait_while")
        assert program.code() == 3
    assert "no worker was ready within 4.0 s" in program.lines[-1]


async def test_an_import_that_hangs_in_the_nursery_is_logged_with_its_stack_and_waited_for(
    fragile: Fragility,
) -> None:
    fragile.make("import")
    with fragile.pool("--stall-warning", "1s", "--boot-timeout", "1s") as program:
        program.wait_for(r"generation 1 \(pid \d+\) is still importing the task modules after 1\.")
        program.wait_for("the nursery of generation 1, where it is:")
        program.wait_for(r"fragile_tasks\.py.* in _wait_while")
        program.wait_for("is still importing the task modules after 2")
        fragile.mend("import")
        program.wait_for("pool ready: 2 of 2 workers")
        assert program.end() == 0


async def test_usr1_logs_the_stacks_of_threads_and_coroutines_and_the_tasks() -> None:
    with ready_pool(*STALLING) as program:
        pids = program.workers().values()
        async with docket_at(program.url) as docket:
            await docket.add("nap", key="long")(600.0)
            program.wait_for("↪ .*long")
            program.send(signal.SIGUSR1)
            for pid in pids:
                program.wait_for(rf"worker \d \(pid {pid}\), where it is:")
                program.wait_for(rf"Worker {pid}: \d tasks? running")
            program.wait_for(r"^  nap long for \d+\.\d+s")
            program.wait_for(r"^Thread 0x")
            program.wait_for(r"^Coroutine docket worker")
            program.wait_for(r"stalling_tasks\.py.* in nap")
        assert program.end(signal.SIGQUIT) == 0


async def test_a_quit_hands_back_what_runs_at_once(server: str, docket_name: str) -> None:
    with ready_pool(*STALLING, "--docket", docket_name, url=server) as program:
        async with docket_at(server, docket_name) as docket:
            await docket.add("nap", key="long")(600.0)
            program.wait_for("↪ .*long")
            family = program.family()
            assert program.end(signal.SIGQUIT) == 0
        assert not any(each.is_running() for each in family)
    after = record(server, "long", docket_name)
    assert (after["state"], deaths_of(server, "long", docket_name)) == ("queued", 0)


async def test_a_user_signal_that_means_nothing_is_logged_and_ends_nothing() -> None:
    with ready_pool(*STALLING, processes=1) as program:
        before = program.workers()
        program.send(signal.SIGUSR2)
        program.wait_for("SIGUSR2")
        assert program.workers() == before
        assert program.end() == 0
