"""What tasks leave behind when their worker ends in another way than by a kill of ours."""

import signal
from pathlib import Path

import psutil
import pytest

from tests.support.user_code import (
    RESTLESS,
    copied,
    descendants,
    producer,
    ready_pool_in,
    still_alive,
)

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

KINDS = ["sleep", "stubborn", "pool", "fork", "spawn", "forkserver"]


async def test_no_process_of_a_task_outlives_a_drain(tmp_path: Path) -> None:
    copied(tmp_path, "process_jobs")
    with ready_pool_in(tmp_path, tasks="process_jobs:tasks") as program:
        async with producer(program) as tasks:
            for kind in KINDS:
                await tasks.call("leave_behind", kind)
        family = descendants(program.process.pid)
        assert len(family) >= 3 + len(KINDS)
        assert program.end() == 0
        assert still_alive(family) == []
    assert " died" not in program.log


async def test_threads_that_outlive_a_drain_are_given_five_seconds_and_count_as_no_crash(
    tmp_path: Path,
) -> None:
    copied(tmp_path, "rough_jobs")
    with ready_pool_in(tmp_path, tasks="rough_jobs:tasks", processes=1) as program:
        async with producer(program) as tasks:
            worker = psutil.Process(await tasks.call("leave_a_thread", 100))
            program.send(signal.SIGTERM)
            program.wait_for("draining")
            assert program.code() == 0
            assert still_alive([worker]) == []
    assert " died" not in program.log
    assert "crash" not in program.log


async def test_no_process_of_a_task_outlives_a_stall(tmp_path: Path) -> None:
    copied(tmp_path, "process_jobs")
    stalls = ("--stall-warning", "1s", "--stall-timeout", "2s", "--max-deliveries", "1")
    with ready_pool_in(
        tmp_path, *stalls, *RESTLESS, tasks="process_jobs:tasks", processes=1
    ) as program:
        async with producer(program) as tasks:
            worker = await tasks.call("whoami")
            stalled = await tasks.add("block_beside_a_subprocess")
            program.until(lambda: len(descendants(worker)) >= 1, "it never began")
            left = descendants(worker)
            assert "worker processes died" in str(await stalled.failure())
            assert still_alive(left) == []
            assert program.status()["totals"]["stalls"] == 1
        assert program.end() == 0
