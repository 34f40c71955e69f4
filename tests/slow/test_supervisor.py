"""The real program on the embedded server: real forks, real signals, real kills."""

import json
import os
import re
import signal
import time
from uuid import uuid4

import psutil
import pytest

from docket import Execution
from tests.support.parameters import in_full
from tests.support.pool_tasks import add, hog, nap, tasks, whoami
from tests.support.supervised import ready_pool

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


async def results(executions: list[Execution]) -> list[int]:
    return [await each.get_result() for each in executions]


async def test_a_pool_gets_ready_and_runs_tasks_in_every_process() -> None:
    with ready_pool() as program:
        async with program.docket(tasks) as docket:
            sums = [await docket.add(add)(left=n, right=n) for n in range(50)]
            assert await results(sums) == [2 * n for n in range(50)]
            naps = [await docket.add(nap)(0.2) for _ in range(20)]
            assert set(await results(naps)) == set(program.workers().values())
            told = [worker.process for worker in await docket.workers()]
            supervisor = program.status()["supervisor"]
            assert {each.pid for each in told if each} == set(program.workers().values())
            assert {(each.supervisor_pid, each.generation) for each in told if each} == {
                (supervisor["pid"], supervisor["generation"])
            }
        assert program.end() == 0
    assert not any(" ERROR " in line for line in program.lines)


async def test_a_killed_worker_is_replaced_and_its_tasks_run_elsewhere_at_once() -> None:
    with ready_pool() as program:
        before = program.workers()
        async with program.docket(tasks) as docket:
            naps = [await docket.add(nap)(1.0) for _ in range(20)]
            program.until(lambda: program.log.count("↪") == 20, "never busy")
            os.kill(before[1], signal.SIGKILL)
            finished = await results(naps)
        program.wait_for(r"worker 1 \(pid \d+\) died: killed by SIGKILL; replaced at once")
        seen = program.wait_for(r"claimed again (\d+) ms after its death")
        assert int(seen[1]) < 1000
        program.until(lambda: len(program.workers()) == 2, "never replaced")
        after = program.workers()
        assert before[1] not in finished
        assert after[2] == before[2]
        assert after[1] != before[1]
        totals = program.status()["totals"]
        assert (totals["crashes"], totals["restarts"], totals["redelivered"]) == (1, 1, 10)
        assert program.end() == 0


async def test_a_fork_that_holds_a_dead_workers_channel_delays_nothing_and_ends_with_it() -> None:
    with ready_pool() as program:
        async with program.docket(tasks) as docket:
            forked = [await docket.add("fork_and_nap")(1.0) for _ in range(2)]
            program.until(lambda: len(program.family()) == 5, "never forked")
            victims = program.workers()
            heirs = [each for each in program.family() if each.ppid() in victims.values()]
            for pid in victims.values():
                os.kill(pid, signal.SIGKILL)
            gone, _ = psutil.wait_procs(heirs, timeout=10)
            assert len(gone) == 2
            program.until(lambda: program.status()["totals"]["redelivered"] == 2, "not adopted")
            assert set(await results(forked)).isdisjoint(victims.values())
        assert program.end() == 0


async def test_an_embedded_server_that_dies_ends_the_pool_with_4() -> None:
    with ready_pool() as program:
        path = program.url.removeprefix("unix://")
        (server,) = [
            each.pid
            for each in psutil.process_iter(["cmdline"])
            if "valkey" in " ".join(each.info["cmdline"] or ())[:200]
            and path in " ".join(each.info["cmdline"] or ())
            and "guard.py" not in " ".join(each.info["cmdline"] or ())
        ]
        family = program.family()
        os.kill(server, signal.SIGKILL)
        assert program.code() == 4
        assert "the embedded server ended by itself" in program.lines[-1]
        assert psutil.wait_procs(family, timeout=10)[1] == []


async def test_workers_outlive_their_nursery_and_it_is_replaced() -> None:
    with ready_pool() as program:
        before = program.workers()
        os.kill(program.nursery_pid, signal.SIGKILL)
        program.wait_for("nursery ready: generation 2")
        assert program.workers() == before
        async with program.docket(tasks) as docket:
            assert await (await docket.add(whoami)()).get_result() in before.values()
        # An orphan of the dead nursery is ours to reap now, and the new one fills its slot.
        os.kill(before[1], signal.SIGKILL)
        program.wait_for(r"worker 1 \(pid \d+\) died: killed by SIGKILL")
        program.until(lambda: program.workers().get(1, before[1]) != before[1], "never replaced")
        assert not psutil.pid_exists(before[1])
        assert {each["generation"] for each in program.status()["workers"]} == {1, 2}
        assert program.end() == 0


async def test_a_killed_supervisor_leaves_no_process_behind() -> None:
    with ready_pool("--drain-timeout", "1s") as program:
        family = program.family()
        assert len(family) == 3  # a nursery and two workers
        async with program.docket(tasks) as docket:
            await docket.add(nap)(60)
            program.until(lambda: program.status()["workers"][0]["in_flight"] + 1 > 0, "no answer")
            program.send(signal.SIGKILL)
            _, alive = psutil.wait_procs(family, timeout=20)
            assert alive == []


async def test_term_finishes_what_runs_and_ends_with_0() -> None:
    with ready_pool() as program:
        async with program.docket(tasks) as docket:
            long = await docket.add(nap)(1.5)
            program.until(lambda: program.status()["totals"]["started"] == 1, "never started")
            program.send(signal.SIGTERM)
            assert await long.get_result() > 0
        assert program.code() == 0
    assert "ended: drained" in program.log


async def test_an_idle_pool_ends_at_once() -> None:
    with ready_pool() as program:
        begun = time.monotonic()
        assert program.end(signal.SIGINT) == 0
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize("task", ["nap", "hog", *in_full("deaf")])
async def test_at_the_deadline_what_still_runs_is_requeued(task: str, tmp_path: object) -> None:
    """Cancelled; or killed, if it ignores that, and adopted by one forked for it."""
    url = f"embedded://{tmp_path}"
    with ready_pool("--drain-timeout", "500ms", url=url, processes=1) as program:
        async with program.docket(tasks) as docket:
            await docket.add(task, key="long")(60.0)
            program.wait_for("↪ .*long")
        begun = time.monotonic()
        assert program.end() == 0
        assert time.monotonic() - begun < 20
        if task != "nap":
            program.wait_for("ignored its drain; killed")
            program.wait_for("put back 1 task of worker 1")
    # Another pool on the same data finds it ready to run, with no death on its record.
    with ready_pool("--drain-timeout", "0s", url=url, processes=1) as program:
        program.wait_for("↪ .*long")
        assert program.status()["totals"]["poisoned"] == 0
        program.end()


async def test_a_second_signal_ends_the_wait() -> None:
    with ready_pool("--drain-timeout", "60s", processes=1) as program:
        async with program.docket(tasks) as docket:
            await docket.add(nap)(60)
            program.until(lambda: program.status()["totals"]["started"] == 1, "never started")
            program.send(signal.SIGTERM)
            program.wait_for("draining 1 worker ")
            program.outwait_echoes()
            program.send(signal.SIGINT)
            program.wait_for("SIGINT again: what still runs is handed back now")
            assert program.code() == 0


async def test_a_task_that_kills_its_process_three_times_is_failed_and_no_other() -> None:
    with ready_pool("--concurrency", "4") as program:
        async with program.docket(tasks) as docket:
            poison = await docket.add("die")()
            naps = [await docket.add(nap)(0.3) for _ in range(30)]
            with pytest.raises(Exception, match="3 worker processes died"):
                await poison.get_result()
            assert len(await results(naps)) == 30
        program.wait_for("1 task failed as poison")
        totals = program.status()["totals"]
        assert (totals["poisoned"], totals["crashes"]) == (1, 3)
        assert program.end() == 0


async def test_a_loop_that_is_silent_too_long_is_dumped_killed_and_only_its_task_is_blamed() -> (
    None
):
    arguments = ("--stall-warning", "2s", "--stall-timeout", "3s", "--max-deliveries", "1")
    with ready_pool(*arguments, processes=1) as program:
        async with program.docket(tasks) as docket:
            innocent = await docket.add(nap, key="innocent")(6.0)
            program.until(lambda: program.status()["totals"]["started"] == 1, "never started")
            culprit = await docket.add(hog, key="culprit")(60.0)
            program.wait_for(r"silent for .*: the event loop is blocked, in task 'culprit'")
            program.wait_for(r"in hog")
            program.wait_for(r"died: its loop was silent for .*, in task 'culprit'")
            with pytest.raises(Exception, match="worker processes died"):
                await culprit.get_result()
            assert await innocent.get_result() > 0
        assert program.status()["totals"]["stalls"] == 1
        assert program.end() == 0


async def test_the_endpoints_tell_what_operators_rely_on() -> None:
    with ready_pool() as program:
        async with program.docket(tasks) as docket:
            await results([await docket.add(add)(left=n, right=1) for n in range(10)])
            program.until(lambda: program.status()["totals"]["succeeded"] == 10, "not counted")
        assert program.get("/livez") == (200, "ok\n")
        assert program.get("/readyz") == (200, "ready\n")
        code, metrics = program.get("/metrics")
        assert code == 200
        assert 'docket_supervisor_workers{state="ready"} 2.0' in metrics
        assert (
            sum(map(float, re.findall(r"docket_tasks_succeeded_total\{.*\} (.+)", metrics))) == 10
        )
        status = program.status()
        assert status["supervisor"]["pid"] == program.process.pid
        assert status["supervisor"]["state"] == "running"
        assert [each["slot"] for each in status["workers"]] == [1, 2]
        assert program.get("/else")[0] == 404
        json.dumps(status)
        assert program.end() == 0


async def test_without_preload_the_workers_import_and_the_pool_works_the_same() -> None:
    with ready_pool("--no-preload") as program:
        async with program.docket(tasks) as docket:
            execution = await docket.add(add, key=str(uuid4()))(left=1, right=2)
            assert await execution.get_result() == 3
        assert program.end() == 0
