"""A burst on the real program: the pool grows within seconds, shrinks after it, cuts nothing."""

import json
import re
import subprocess
import sys
import time
from datetime import timedelta

import pytest

from tests.support.pool_tasks import hog, nap, tasks
from tests.support.supervised import ROOT, Program, supervised

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180), pytest.mark.long]


#: For a burst on a loaded machine.
PATIENCE = timedelta(seconds=60)


def scaling_pool(*arguments: str) -> Program:
    return supervised("--processes", "1:4", "--scale-down-idle", "1s", *arguments)


def target(program: Program) -> int:
    return program.status()["supervisor"]["target"]


async def test_a_burst_is_met_by_more_workers_and_none_of_its_tasks_is_cut() -> None:
    with scaling_pool() as program:
        program.wait_for("pool ready: 1 of 1 worker")
        async with program.docket(tasks) as docket:
            begin = time.monotonic()
            burst = [await docket.add(nap)(1.0) for _ in range(300)]
            # The last to get a place: some run while their workers are given up.
            burst += [await docket.add(nap)(10.0) for _ in range(8)]
            program.wait_for(r"scaled up from \d to 4 processes: the oldest ready task has waited")
            # With one worker alone the burst would take half a minute.
            assert time.monotonic() - begin < 25.0
            pids = [await each.get_result(timeout=PATIENCE) for each in burst]
            program.wait_for(r"scaled down from 2 to 1 process: the workers were at most")
        assert len(set(pids)) == 4
        program.until(lambda: len(program.status()["workers"]) == 1, "the others did not end")

        def succeeded() -> int:
            return program.status()["totals"]["succeeded"]

        # The counters of the last worker are as old as its last heartbeat.
        program.until(lambda: succeeded() == len(burst), "not every task was counted")
        totals = program.status()["totals"]
        assert (totals["started"], totals["redelivered"]) == (len(burst), 0)
        assert totals["crashes"] == totals["failed"] == 0
        metrics = program.get("/metrics")[1]
        scalings = dict(re.findall(r'scalings_total\{direction="(\w+)"\} (\d)', metrics))
        assert scalings["down"] == "3"
        assert program.end() == 0


async def test_tasks_that_block_their_loops_are_met_by_more_workers_too() -> None:
    with scaling_pool() as program:
        program.wait_for("pool ready")
        async with program.docket(tasks) as docket:
            for _ in range(200):
                await docket.add(hog)(0.1)
            program.wait_for(r"scaled up from \d to 4 processes")


async def test_ctl_fixes_the_size_and_lets_it_follow_the_work_again() -> None:
    with scaling_pool() as program:
        program.wait_for("pool ready")
        path = program.wait_for(r"control socket: (\S+)")[1]

        def ctl(*words: str) -> str:
            command = [sys.executable, "-m", "supervisor.cli", "ctl", "--control", path, *words]
            return subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
            ).stdout

        shown = ctl("status")
        assert "1 to 4 workers, as the work needs" in shown
        assert "it stays so until it is scaled to 1:4 again" in ctl("scale", "2")
        assert json.loads(ctl("status", "--json"))["supervisor"]["scaling"] is None
        assert "the size follows the work between 1 and 3" in ctl("scale", "1:3")
        program.wait_for("scaled down from 2 to 1 process")
        assert target(program) == 1
