"""The log of the real program: one stream of whole lines, whoever writes and whoever reads."""

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from docket import Docket
from tests.support import pool
from tests.support.chatty_tasks import chat, fail, print_lines, say_from_below, tasks
from tests.support.dockets import knowing
from tests.support.scrapes import Scrape, fetch
from tests.support.supervised import PATIENCE_SECONDS, ROOT, Program, ready_pool

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

CHATTY = "tests.support.chatty_tasks:tasks"
CONFIGURED = "tests.support.configured_tasks:tasks"
DROPPED = "docket_supervisor_log_lines_dropped_total"


async def speak() -> None:
    """Has the name of the task that configured_tasks has."""


def docket_at(url: str) -> Docket:
    return knowing(Docket(name="d", url=url), (*tasks, speak))


def chatty(*arguments: str, **rest: Any) -> contextlib.AbstractContextManager[Program]:
    return ready_pool("--tasks", CHATTY, *arguments, **rest)


@contextlib.contextmanager
def closed_gate(folder: Path) -> Iterator[str]:
    """A gate that tasks wait at during the block."""
    gate = folder / "gate"
    with gate.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield str(gate)


@dataclass
class Muted:
    """A pool whose stderr is a small pipe that the test reads when it likes."""

    process: subprocess.Popen[bytes]
    url: str
    port: int
    read: int

    def status(self) -> dict[str, Any]:
        return json.loads(fetch(self.port, "/status")[1])

    def until(self, key: str, value: int) -> None:
        """Until a total has reached a value."""
        pause = threading.Event()
        for _ in range(int(PATIENCE_SECONDS / 0.05)):
            if self.status()["totals"][key] >= value:
                return
            pause.wait(0.05)
        raise AssertionError(f"{key} never reached {value}: {self.status()}")

    def close(self) -> None:
        """Read no more, for ever."""
        fd, self.read = self.read, -1
        if fd >= 0:
            os.close(fd)


@contextlib.contextmanager
def muted(folder: Path, *arguments: str) -> Iterator[Muted]:
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    port = pool.free_port()
    options = {
        "--processes": "2",
        "--tasks": CHATTY,
        "--docket": "d",
        "--url": f"embedded://{folder}",
        "--http": f"127.0.0.1:{port}",
        "--logging-format": "json",
    }
    words = [word for pair in options.items() for word in pair]
    with subprocess.Popen(
        [sys.executable, "-m", "supervisor.cli", *words, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=write,
        stderr=write,
    ) as process:
        os.close(write)
        started = Muted(process, f"unix://{folder}/valkey.sock", port, read)
        try:
            _wait_until_ready(port)
            yield started
        finally:
            process.kill()
            started.close()


def _wait_until_ready(port: int) -> None:
    pause = threading.Event()
    for _ in range(int(PATIENCE_SECONDS / 0.05)):
        with contextlib.suppress(OSError):
            if fetch(port, "/readyz")[0] == 200:
                return
        pause.wait(0.05)
    raise AssertionError("never ready")


async def test_fifty_workers_that_log_long_lines_at_once_tear_and_lose_none(
    tmp_path: Path,
) -> None:
    workers, lines, length = 50, 40, 9000
    options = ("--concurrency", "1", "--logging-format", "json")
    with chatty(*options, processes=workers) as program:
        async with docket_at(program.url) as docket:
            with closed_gate(tmp_path) as gate:
                chats = [
                    await docket.add(chat)(gate, str(number), lines, length)
                    for number in range(workers)
                ]
                program.until(
                    lambda: (
                        sum(each["in_flight"] for each in program.status()["workers"]) == workers
                    ),
                    "not every worker has a task",
                )
            pids = {await each.get_result() for each in chats}
        assert len(pids) == workers
        program.until(
            lambda: sum('"chatty"' in line[:100] for line in program.lines) == workers * lines,
            "not every line was read",
        )
        code, metrics = program.get("/metrics")
        assert code == 200
        assert Scrape(metrics).value(DROPPED, {}) == 0
        assert program.end() == 0
    heard: Counter[str] = Counter()
    for line in program.lines:
        told = json.loads(line)
        if told["logger"] == "chatty":
            _, name, number, letters = told["message"].split()
            assert letters == chr(ord("a") + int(name) % 26) * length
            assert told["function"] == "chat"
            assert 1 <= told["worker"] <= workers
            assert int(number) == heard[name], "out of order"
            heard[name] += 1
    assert heard == Counter({str(number): lines for number in range(workers)})


async def _say_everything(program: Program) -> None:
    async with docket_at(program.url) as docket:
        for task, key in ((fail, "failing"), (say_from_below, "below")):
            execution = await docket.add(task, key=key)()
            with contextlib.suppress(ValueError):
                await execution.get_result()


async def test_plain_lines_name_the_worker_and_the_task() -> None:
    with chatty("--logging-format", "plain", processes=1) as program:
        await _say_everything(program)
        program.wait_for(r"^[\d-]+ [\d:.]+ INFO supervisor: worker 1 ready")
        program.wait_for(r" INFO \[worker 1 failing\] docket\.worker: ↬ .*fail\(\)\{failing\}")
        program.wait_for(r" ERROR \[worker 1 failing\] docket\.worker: ")
        program.wait_for(r"^ValueError: of several$")
        program.wait_for(r" INFO \[worker 1 below\] chatty: from a task below$")
        program.wait_for(r" INFO \[worker 1 below\] chatty: from a thread below$")
        assert program.end() == 0


async def test_rich_lines_name_the_worker_and_the_task() -> None:
    with chatty("--logging-format", "rich", processes=1) as program:
        await _say_everything(program)
        program.wait_for(r"\x1b\[34mINFO    \x1b\[0m worker 1 ready")
        program.wait_for(r"\x1b\[36m\[worker 1 below\]\x1b\[0m from a task below \x1b\[2mchatty")
        assert program.end() == 0


async def test_json_lines_parse_one_by_one_tracebacks_and_the_last_one_included(
    tmp_path: Path,
) -> None:
    broken = tmp_path / "broken_jobs.py"
    broken.write_text("import sys\nprint('before the end', file=sys.stderr)\nraise ValueError('x')")
    with chatty("--logging-format", "json", processes=1) as program:
        await _say_everything(program)
        assert program.end() == 0
    told = [json.loads(line) for line in program.lines]
    (failed,) = [line for line in told if "exception" in line]
    assert failed["exception"].endswith("ValueError: of several\nlines")
    assert (failed["worker"], failed["task"], failed["function"]) == (1, "failing", "fail")
    assert {line["message"] for line in told if line.get("task") == "below"} >= {
        "from a task below",
        "from a thread below",
    }
    assert all("worker" not in line for line in told if line["logger"] == "supervisor")

    arguments = ("--tasks", "broken_jobs:tasks", "--logging-format", "json", "--url", "memory://")
    with Program(arguments, {"PYTHONPATH": f"{ROOT}:{tmp_path}"}) as program:
        assert program.code() == 3
    told = [json.loads(line) for line in program.lines]
    assert ("stderr", "before the end") in {(each["logger"], each["message"]) for each in told}
    assert told[-1]["message"].startswith("docket-supervisor: ")
    assert told[-1]["message"].endswith("ValueError: x")
    assert not any(each["message"].startswith("draining") for each in told)


async def test_a_stderr_that_nobody_reads_stalls_nothing_and_costs_only_lines_which_are_told(
    tmp_path: Path,
) -> None:
    with muted(tmp_path, "--stall-timeout", "5s") as program:
        async with docket_at(program.url) as docket:
            with closed_gate(tmp_path) as gate:
                long = [
                    await docket.add(chat)(gate, str(number), 2000, 9000) for number in range(4)
                ]
            printing = await docket.add(print_lines)(20_000)
            pids = {await each.get_result() for each in [*long, printing]}
            program.until("succeeded", 5)
            # A worker that dies meanwhile is replaced, and the nursery can fork.
            os.kill(pids.pop(), signal.SIGKILL)
            program.until("restarts", 1)
            assert await (await docket.add(print_lines)(1)).get_result() > 0
        totals = program.status()["totals"]
        assert (totals["stalls"], totals["crashes"]) == (0, 1)
        lost = Scrape(fetch(program.port, "/metrics")[1]).value(DROPPED, {})
        assert lost is not None
        assert lost > 1000
        with os.fdopen(os.dup(program.read), "rb") as stream:
            told = next(line for line in stream if b"stderr was not read" in line)
            assert re.search(r"^\d+ log lines dropped", json.loads(told)["message"])


async def test_a_pool_whose_stderr_nobody_reads_ends_when_it_is_told_to(tmp_path: Path) -> None:
    with muted(tmp_path) as program:
        async with docket_at(program.url) as docket:
            with closed_gate(tmp_path) as gate:
                chatting = await docket.add(chat)(gate, "1", 100, 9000)
            await chatting.get_result()
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(PATIENCE_SECONDS) == 0


async def test_a_stderr_whose_reader_is_gone_ends_nobody(tmp_path: Path) -> None:
    with muted(tmp_path) as program:
        program.close()
        async with docket_at(program.url) as docket:
            with closed_gate(tmp_path) as gate:
                chatting = await docket.add(chat)(gate, "1", 100, 9000)
            printing = await docket.add(print_lines)(100)
            assert await chatting.get_result() > 0
            assert await printing.get_result() > 0
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(PATIENCE_SECONDS) == 0


@pytest.mark.parametrize("preload", ["--preload", "--no-preload"])
async def test_what_a_module_configures_at_its_import_stays_but_for_its_handlers_to_the_screen(
    preload: str, tmp_path: Path
) -> None:
    own = tmp_path / "own.log"
    arguments = ("--tasks", CONFIGURED, "--logging-format", "plain", preload)
    environment = {"CONFIGURED_LOG": str(own)}
    with ready_pool(*arguments, processes=1, environment=environment) as program:
        async with docket_at(program.url) as docket:
            await (await docket.add(speak, key="k")()).get_result()
        program.wait_for(r" INFO \[worker 1 k\] docket\.worker: ↬ ")
        program.wait_for(r" INFO \[worker 1 k\] loud: spoken$")
        assert program.end() == 0
    assert "OWN" not in program.log
    assert "below the level" not in program.log
    assert "OWN spoken\n" in own.read_text()
