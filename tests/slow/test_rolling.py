"""Reload, recycle and scale on the real program, under load: nobody is missed, nothing is lost."""

import asyncio
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from docket import Docket, Execution
from tests.support.parameters import in_full
from tests.support.supervised import ROOT, Program

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180), pytest.mark.long]

JOBS = """
import asyncio, os

VERSION = {version}
hoard = []

async def version(seconds: float = 0.0) -> int:
    before = VERSION
    await asyncio.sleep(seconds)
    return before

async def run_once(ledger: str, number: int) -> None:
    await asyncio.sleep(0.02)
    with open(ledger, "a") as file:
        file.write(f"{{number}}\\n")

async def grow(megabytes: int) -> int:
    hoard.append(b"x" * (megabytes << 20))
    return os.getpid()

tasks = [version, run_once, grow]
"""


async def version(seconds: float = 0.0) -> int:
    raise NotImplementedError("runs in the pool")


async def run_once(ledger: str, number: int) -> None:
    raise NotImplementedError("runs in the pool")


async def grow(megabytes: int) -> int:
    raise NotImplementedError("runs in the pool")


def write_jobs(folder: Path, number: int) -> None:
    (folder / "jobs.py").write_text(JOBS.format(version=number))


@contextmanager
def pool_in(folder: Path, *arguments: str, processes: int = 3) -> Iterator[Program]:
    """A ready pool whose task module is in the folder that it was started in."""
    options = (
        *("--processes", str(processes), "--tasks", "jobs:tasks", "--docket", "d"),
        *("--url", "memory://", "--http", "127.0.0.1:0", *arguments),
    )
    environment = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PWD": str(folder)}
    with Program(options, cwd=folder, environment=environment) as program:
        program.wait_for("pool ready")
        yield program


def docket_of(program: Program) -> Docket:
    return program.docket((version, run_once, grow))


class Sampler:
    """Asks /status as fast as it answers, and keeps the lowest number of ready workers."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.lowest = 1_000
        self.samples = 0

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._over.is_set():
            self.lowest = min(self.lowest, len(self._program.workers_ready()))
            self.samples += 1


async def load(docket: Docket, ledger: Path, over: asyncio.Event) -> int:
    """Tasks in a steady stream until it is over; how many."""
    number = 0
    while not over.is_set():
        for _ in range(10):
            await docket.add(run_once)(str(ledger), number)
            number += 1
        await asyncio.sleep(0.01)
    return number


def runs_in(ledger: Path) -> Counter[str]:
    return Counter(ledger.read_text().split())


async def all_done(program: Program, ledger: Path, added: int) -> None:
    def done() -> bool:
        return len(runs_in(ledger)) == added

    await asyncio.to_thread(program.until, done, "some tasks never ran")


async def test_a_reload_under_load_picks_up_new_code_and_misses_nobody(tmp_path: Path) -> None:
    write_jobs(tmp_path, 1)
    ledger, over = tmp_path / "ledger", asyncio.Event()
    ledger.touch()
    with pool_in(tmp_path) as program:
        async with docket_of(program) as docket:
            long = await docket.add(version)(seconds=4.0)
            adding = asyncio.create_task(load(docket, ledger, over))
            await asyncio.to_thread(program.until, lambda: len(runs_in(ledger)) > 50, "no load")
            write_jobs(tmp_path, 2)
            with Sampler(program) as sampler:
                program.send(signal.SIGHUP)
                await asyncio.to_thread(program.wait_for, "every worker runs generation 2")
            over.set()
            added = await adding
            assert await (await docket.add(version)()).get_result() == 2
            await all_done(program, ledger, added)
            assert await long.get_result() == 1, "what the old code began it finishes"
        assert set(runs_in(ledger).values()) == {1}, "none was run twice"
        assert sampler.samples > 5
        assert sampler.lowest >= 3
        await asyncio.to_thread(
            program.until, lambda: len(program.family()) == 4, "the old generation never ended"
        )
        totals = program.status()["totals"]
        assert (totals["crashes"], totals["restarts"], totals["retried"]) == (0, 0, 0)
        assert program.end() == 0


@pytest.mark.parametrize("preload", ["--preload", *in_full("--no-preload")])
async def test_code_that_does_not_import_leaves_the_old_one_running(
    tmp_path: Path, preload: str
) -> None:
    write_jobs(tmp_path, 1)
    with pool_in(tmp_path, preload, "--backoff-max", "100ms") as program:
        before = program.workers()
        (tmp_path / "jobs.py").write_text("import nowhere_to_be_found\n")
        program.send(signal.SIGHUP)
        program.wait_for(r"reload failed, after .*nowhere_to_be_found")
        status = program.status()["supervisor"]
        assert "nowhere_to_be_found" in status["reload_error"]
        assert status["state"] == "running"
        assert program.workers() == before
        assert program.get("/readyz")[0] == 200
        async with docket_of(program) as docket:
            assert await (await docket.add(version)()).get_result() == 1
        program.until(lambda: len(program.family()) == 4, "the bad generation never ended")
        write_jobs(tmp_path, 2)
        program.send(signal.SIGHUP)
        program.wait_for("every worker runs generation")
        assert program.status()["supervisor"]["reload_error"] is None
        async with docket_of(program) as docket:
            assert await (await docket.add(version)()).get_result() == 2
        assert program.end() == 0


async def test_a_reload_follows_the_symlink_that_a_deploy_moved(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"release{number}").mkdir()
        write_jobs(tmp_path / f"release{number}", number)
    current = tmp_path / "current"
    current.symlink_to("release1")
    with pool_in(current, processes=1) as program:
        current.unlink()
        current.symlink_to("release2")
        program.send(signal.SIGHUP)
        program.wait_for("every worker runs generation 2")
        async with docket_of(program) as docket:
            assert await (await docket.add(version)()).get_result() == 2
        assert program.end() == 0


async def test_a_reload_that_is_overtaken_by_another_leaves_the_newest(tmp_path: Path) -> None:
    write_jobs(tmp_path, 1)
    with pool_in(tmp_path) as program:
        (tmp_path / "jobs.py").write_text("import time\ntime.sleep(600)\n")
        program.send(signal.SIGHUP)
        program.wait_for("as generation 2")
        write_jobs(tmp_path, 3)
        stuck = [each for each in program.family() if each.pid not in program.workers().values()]
        program.send(signal.SIGHUP)
        program.wait_for("a newer reload took its place")
        program.wait_for("every worker runs generation 3")
        assert psutil.wait_procs(stuck, timeout=20)[1] == []
        assert program.end() == 0


async def test_a_pool_under_nohup_goes_on_when_its_terminal_goes(tmp_path: Path) -> None:
    write_jobs(tmp_path, 1)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pool_in(tmp_path, processes=1) as program:
            program.send(signal.SIGHUP)
            program.send(signal.SIGTTIN)
            program.wait_for("scaled from 1 to 2")
            assert "reload" not in program.log
            assert program.end() == 0
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_workers_are_recycled_by_tasks_under_load_and_nobody_is_missed(
    tmp_path: Path,
) -> None:
    write_jobs(tmp_path, 1)
    ledger, over = tmp_path / "ledger", asyncio.Event()
    ledger.touch()
    with pool_in(tmp_path, "--max-tasks", "100") as program:
        first = set(program.workers().values())
        async with docket_of(program) as docket:
            with Sampler(program) as sampler:
                adding = asyncio.create_task(load(docket, ledger, over))
                await asyncio.to_thread(
                    program.until,
                    lambda: not first & set(program.workers().values()),
                    "not every worker was recycled",
                )
                over.set()
                added = await adding
                await all_done(program, ledger, added)
        assert set(runs_in(ledger).values()) == {1}
        assert sampler.lowest >= 3
        assert program.log.count("is recycled: it has started") >= 3
        assert program.status()["totals"]["restarts"] == 0
        assert program.end() == 0


async def test_a_worker_that_grew_is_recycled_and_one_that_is_large_by_nature_is_not(
    tmp_path: Path,
) -> None:
    write_jobs(tmp_path, 1)
    with pool_in(tmp_path, "--max-rss", "120M", processes=1) as program:
        async with docket_of(program) as docket:
            grown = await (await docket.add(grow)(120)).get_result()
        program.wait_for(r"is recycled: it has [\d.]+ MB of memory")
        program.until(
            lambda: grown not in program.workers().values() and len(program.workers()) == 1,
            "never replaced",
        )
        assert program.end() == 0
    with pool_in(tmp_path, "--max-rss", "2M", processes=1) as program:
        program.wait_for("such a worker is not recycled for its memory")
        assert "is recycled" not in program.log
        assert program.end() == 0


async def test_a_pool_is_scaled_by_signals_and_what_is_given_up_finishes(tmp_path: Path) -> None:
    write_jobs(tmp_path, 1)
    with pool_in(tmp_path, "--concurrency", "1", processes=2) as program:
        async with docket_of(program) as docket:
            busy = [await docket.add(version)(seconds=2.0) for _ in range(2)]
            program.until(lambda: program.log.count("↪") == 2, "never busy")
            program.send(signal.SIGTTOU)
            program.wait_for("scaled from 2 to 1")
            for _ in range(2):
                after = len(program.lines)
                program.send(signal.SIGTTIN)
                program.wait_for(r"scaled from \d to \d", after)
            program.until(lambda: set(program.workers()) == {1, 2, 3}, "never three")
            assert await gathered(busy) == [1, 1]
        program.until(lambda: len(program.family()) == 4, "the one given up never ended")
        totals = program.status()["totals"]
        assert (totals["crashes"], totals["redelivered"], totals["restarts"]) == (0, 0, 0)
        assert program.end() == 0


async def test_a_new_generation_that_is_killed_fails_the_reload_alone(tmp_path: Path) -> None:
    write_jobs(tmp_path, 1)
    with pool_in(tmp_path, processes=1) as program:
        before = program.workers()
        (tmp_path / "jobs.py").write_text("import time\ntime.sleep(600)\n")
        old = {each.pid for each in program.family()}
        program.send(signal.SIGHUP)
        program.until(lambda: len(program.family()) == 3, "no second nursery")
        (new,) = [each for each in program.family() if each.pid not in old]
        os.kill(new.pid, signal.SIGKILL)
        program.wait_for("reload failed, .*killed by SIGKILL while it imported")
        assert program.workers() == before
        assert program.end() == 0


async def gathered(executions: list[Execution]) -> list[int]:
    return [await each.get_result() for each in executions]


async def test_json_lines_tell_of_a_reload(tmp_path: Path) -> None:
    write_jobs(tmp_path, 1)
    with pool_in(tmp_path, "--logging-format", "json", processes=1) as program:
        program.send(signal.SIGHUP)
        program.wait_for("every worker runs generation 2")
        assert program.end() == 0
    assert all(json.loads(line)["message"] for line in program.lines)
