"""The log of the real program: one stream of whole lines from all of its processes."""

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
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from docket import Docket
from stress.ports import free_port
from tests.support.chatty_tasks import chat, fail, print_lines, say_from_below, tasks
from tests.support.dockets import knowing
from tests.support.embedded import readable
from tests.support.parameters import in_full
from tests.support.scrapes import Scrape, fetch
from tests.support.servers import until
from tests.support.supervised import PATIENCE_SECONDS, ROOT, Program, ready_pool

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

CHATTY = "tests.support.chatty_tasks:tasks"
CONFIGURED = "tests.support.configured_tasks:tasks"
DROPPED = "docket_supervisor_log_lines_dropped_total"
#: Ways to write without a line end, each as a task of its name.
RAW_WAYS = ("stderr", "stdout", "original", "descriptor", "subprocess", "thread")
RAW_JOBS = """
import os, subprocess, sys, threading

sys.stderr.write("imported...")

async def stderr(): print("stderr...", end="", file=sys.stderr, flush=True)
async def stdout(): print("stdout...", end="")
async def original(): print("original...", end="", file=sys.__stderr__, flush=True)
async def descriptor(): os.write(2, b"descriptor... \\xff")
async def subprocess_(): subprocess.run(["sh", "-c", "printf subprocess... >&2"])
async def thread():
    each = threading.Thread(target=lambda: sys.stderr.write("thread..."))
    each.start(); each.join()

subprocess_.__name__ = "subprocess"
tasks = [stderr, stdout, original, descriptor, subprocess_, thread]
"""


async def speak() -> None:
    """Has the name of the task that configured_tasks has."""


def task_of_name(name: str) -> Any:
    """A function that a producer takes for the one that is called so in the pool."""

    async def task() -> None: ...

    task.__name__ = name
    return task


def docket_at(url: str) -> Docket:
    return knowing(Docket(name="d", url=url), (*tasks, speak))


def chatty(*arguments: str, **rest: Any) -> contextlib.AbstractContextManager[Program]:
    return ready_pool("--tasks", CHATTY, *arguments, **rest)


@contextlib.contextmanager
def closed_gate(folder: Path) -> Iterator[str]:
    """A gate that holds tasks up during the block."""
    gate = folder / "gate"
    with gate.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield str(gate)


@dataclass
class Muted:
    """A pool whose stderr is a small pipe, which only the test reads."""

    process: subprocess.Popen[bytes]
    url: str
    port: int
    read: int

    def status(self) -> dict[str, Any]:
        return json.loads(fetch(self.port, "/status")[1])

    def until(self, key: str, value: int) -> None:
        """Wait until a total has reached a value."""
        pause = threading.Event()
        for _ in range(int(PATIENCE_SECONDS / 0.05)):
            if self.status()["totals"][key] >= value:
                return
            pause.wait(0.05)
        raise AssertionError(f"{key} never reached {value}: {self.status()}")

    def line_with(self, words: bytes) -> bytes:
        """Read until there is a line that has these words."""
        rest = b""
        while readable(self.read):
            *lines, rest = (rest + os.read(self.read, 65536)).split(b"\n")
            for line in lines:
                if words in line:
                    return line
        raise AssertionError(f"no line with {words!r}")

    def close(self) -> None:
        """Close the reading end."""
        fd, self.read = self.read, -1
        if fd >= 0:
            os.close(fd)


@contextlib.contextmanager
def muted(folder: Path, *arguments: str) -> Iterator[Muted]:
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    port = free_port()
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


async def test_long_lines_of_fifty_workers_at_once_are_neither_torn_nor_lost(
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
    seen: Counter[str] = Counter()
    for line in program.lines:
        fields = json.loads(line)
        if fields["logger"] == "chatty":
            _, name, number, letters = fields["message"].split()
            assert letters == chr(ord("a") + int(name) % 26) * length
            assert fields["function"] == "chat"
            assert 1 <= fields["worker"] <= workers
            assert int(number) == seen[name], "out of order"
            seen[name] += 1
    assert seen == Counter({str(number): lines for number in range(workers)})


async def _run_everything(program: Program) -> None:
    async with docket_at(program.url) as docket:
        for task, key in ((fail, "failing"), (say_from_below, "below")):
            execution = await docket.add(task, key=key)()
            with contextlib.suppress(ValueError):
                await execution.get_result()


async def test_plain_lines_name_the_worker_and_the_task() -> None:
    with chatty("--logging-format", "plain", processes=1) as program:
        await _run_everything(program)
        program.wait_for(r"^[\d-]+ [\d:.]+ INFO supervisor: worker 1 ready")
        program.wait_for(r" INFO \[worker 1 failing\] docket\.worker: ↪ .*fail\(\)\{failing\}")
        program.wait_for(r" ERROR \[worker 1 failing\] docket\.worker: ")
        program.wait_for(r"^ValueError: of several$")
        program.wait_for(r" INFO \[worker 1 below\] chatty: from a task below$")
        program.wait_for(r" INFO \[worker 1 below\] chatty: from a thread below$")
        assert program.end() == 0


async def test_rich_lines_name_the_worker_and_the_task() -> None:
    with chatty("--logging-format", "rich", processes=1) as program:
        await _run_everything(program)
        program.wait_for(r"\x1b\[34m INFO    \x1b\[0m\x1b\[2m supervisor:\x1b\[0m worker 1 ready")
        below = r"\x1b\[36m \[worker 1 below\]\x1b\[0m\x1b\[2m chatty\S*:\x1b\[0m from a task below"
        program.wait_for(below)
        assert program.end() == 0


async def test_json_lines_parse_one_by_one_tracebacks_and_the_last_one_included(
    tmp_path: Path,
) -> None:
    broken = tmp_path / "broken_jobs.py"
    broken.write_text("import sys\nprint('before the end', file=sys.stderr)\nraise ValueError('x')")
    with chatty("--logging-format", "json", processes=1) as program:
        await _run_everything(program)
        assert program.end() == 0
    records = [json.loads(line) for line in program.lines]
    (failed,) = [line for line in records if "exception" in line]
    assert failed["exception"].endswith("ValueError: of several\nlines")
    assert (failed["worker"], failed["task"], failed["function"]) == (1, "failing", "fail")
    assert {line["message"] for line in records if line.get("task") == "below"} >= {
        "from a task below",
        "from a thread below",
    }
    assert all("worker" not in line for line in records if line["logger"] == "supervisor")

    arguments = ("--tasks", "broken_jobs:tasks", "--logging-format", "json", "--url", "memory://")
    with Program(arguments, {"PYTHONPATH": f"{ROOT}:{tmp_path}"}) as program:
        assert program.code() == 3
    records = [json.loads(line) for line in program.lines]
    assert ("stderr", "before the end") in {(each["logger"], each["message"]) for each in records}
    assert records[-1]["message"].startswith("docket-supervisor: ")
    assert records[-1]["message"].endswith("ValueError: x")
    assert not any(each["message"].startswith("draining") for each in records)


@contextlib.contextmanager
def written_to(log: Path, folder: Path, *, together: bool) -> Iterator[None]:
    """A pool of RAW_JOBS, ready, whose log goes to a file; it has ended after the block."""
    arguments = ("--tasks", "raw_jobs:tasks", "--docket", "d", "--url", f"embedded://{folder}/db")
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.cli", *arguments, "--logging-format", "json"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "DOCKET_SUPERVISOR_PROCESSES": "1"},
            stdout=stderr if together else subprocess.DEVNULL,
            stderr=stderr,
        )
    try:
        until(lambda: "pool ready" in log.read_text(), "a ready pool")
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("together", [True, *in_full(False)])
async def test_every_line_of_json_parses_whatever_is_written_past_the_log(
    tmp_path: Path, *, together: bool
) -> None:
    """`together`: stdout goes to the same file, as in `2>&1` and in containers."""
    (tmp_path / "raw_jobs.py").write_text(RAW_JOBS)
    log = tmp_path / "log"
    with written_to(log, tmp_path, together=together):
        async with Docket("d", f"unix://{tmp_path}/db/valkey.sock") as docket:
            for name in RAW_WAYS:
                execution = await docket.add(task_of_name(name))()
                await execution.get_result(timeout=timedelta(seconds=30))
    records = [json.loads(line) for line in log.read_text().splitlines()]
    said = " ".join(each["message"] for each in records)
    assert "imported..." in said
    for name in RAW_WAYS:
        assert (f"{name}..." in said) is (together or name != "stdout")


async def test_a_stderr_that_is_not_read_stalls_nothing_and_costs_only_lines_which_are_reported(
    tmp_path: Path,
) -> None:
    # No worker takes all of them: the one that is killed takes its report of lost lines with it.
    with muted(tmp_path, "--stall-timeout", "5s", "--concurrency", "3") as program:
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
        notice = program.line_with(b"stderr was not read")
        assert re.search(r"^\d+ log lines dropped", json.loads(notice)["message"])


async def test_a_pool_whose_stderr_is_not_read_ends_at_a_sigterm(tmp_path: Path) -> None:
    with muted(tmp_path) as program:
        async with docket_at(program.url) as docket:
            with closed_gate(tmp_path) as gate:
                chatting = await docket.add(chat)(gate, "1", 100, 9000)
            await chatting.get_result()
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(PATIENCE_SECONDS) == 0


async def test_a_stderr_without_a_reader_ends_no_process(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("preload", ["--no-preload", *in_full("--preload")])
async def test_the_logging_of_a_module_stays_except_for_its_handlers_to_the_terminal(
    preload: str, tmp_path: Path
) -> None:
    own = tmp_path / "own.log"
    arguments = ("--tasks", CONFIGURED, "--logging-format", "plain", preload)
    environment = {"CONFIGURED_LOG": str(own)}
    with ready_pool(*arguments, processes=1, environment=environment) as program:
        async with docket_at(program.url) as docket:
            await (await docket.add(speak, key="k")()).get_result()
        program.wait_for(r" INFO \[worker 1 k\] docket\.worker: ↪ ")
        program.wait_for(r" INFO \[worker 1 k\] loud: spoken$")
        assert program.end() == 0
    assert "OWN" not in program.log
    assert "below the level" not in program.log
    assert "OWN spoken\n" in own.read_text()
