"""The real program, `python -m supervisor.cli`, watched through what operators see of it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from docket import Docket
from supervisor.signals import SAME_SIGNAL_SECONDS
from tests.support.dockets import knowing

ROOT = Path(__file__).parents[2]
#: Long enough for a loaded machine; whatever takes this long is a failure, not a pace.
PATIENCE_SECONDS = 30.0
TASKS = "tests.support.pool_tasks:tasks"


@dataclass
class Program:
    """One run of docket-supervisor, ended with the block whatever happens in it."""

    arguments: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    cwd: Path = ROOT
    command: tuple[str, ...] = (sys.executable, "-m", "supervisor.cli")
    lines: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("DOCKET_")}
        self.process = subprocess.Popen(
            [*self.command, *self.arguments],
            cwd=self.cwd,
            env=inherited | {"PYTHONPATH": str(ROOT)} | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        left = self.family()
        if kind is not None:
            # Of a test that fails, the program's own account; pytest shows it.
            sys.stdout.write(f"exit code {self.process.poll()}\n{self.log}\n")
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE_SECONDS)
        for each in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self._reader.join(PATIENCE_SECONDS)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._said:
                self.lines.append(line.rstrip("\n"))
                self._said.notify_all()

    # What is seen from outside.

    def _states(self) -> list[str]:
        """Each of its processes, and whether it runs, sleeps, or is stopped."""
        states: list[str] = []
        for pid in (self.process.pid, *(each.pid for each in self.family())):
            with contextlib.suppress(psutil.NoSuchProcess):
                each = psutil.Process(pid)
                states.append(f"{pid} {each.name()} {each.status()}")
        return states

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, after: int = 0) -> re.Match[str]:
        """The first line from number `after` on in which the pattern is found."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self._said:
            while True:
                for line in self.lines[after:]:
                    if found := re.search(pattern, line):
                        return found
                left = deadline - time.monotonic()
                if left <= 0 or not self._said.wait(left):
                    raise AssertionError(
                        f"never said {pattern!r}, with processes {self._states()}:\n{self.log}"
                    )

    @property
    def url(self) -> str:
        """Where producers find the embedded server."""
        return self.wait_for(r"producers connect to ([^\s\"]+)")[1]

    def docket(self, tasks: Iterable[Callable[..., Any]]) -> Docket:
        """The docket of the pool, for a producer of these tasks."""
        return knowing(Docket("d", self.url), tasks)

    @property
    def nursery_pid(self) -> int:
        return int(self.wait_for(r"nursery ready: generation 1, pid (\d+)")[1])

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of an HTTP endpoint."""
        base = self.wait_for(r"http (http://[^\s\",]+)")[1]
        try:
            with urllib.request.urlopen(base + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def status(self) -> dict[str, Any]:
        return json.loads(self.get("/status")[1])

    def workers(self) -> dict[int, int]:
        """Slot -> pid, of those that are ready."""
        ready = [each for each in self.status()["workers"] if each["state"] == "ready"]
        return {each["slot"]: each["pid"] for each in ready}

    def workers_ready(self) -> list[int]:
        """The pid of every worker that is ready, those of one slot all of them."""
        return [each["pid"] for each in self.status()["workers"] if each["state"] == "ready"]

    def family(self) -> list[psutil.Process]:
        """Every process it has started, server and guard aside (they have left the family)."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def outwait_echoes(self) -> None:
        """Wait until another signal to stop counts as one of its own."""
        start = time.monotonic()
        self.until(lambda: time.monotonic() - start > SAME_SIGNAL_SECONDS + 0.1, "time")

    def until(self, true: Callable[[], bool], what: str) -> None:
        """Ask again until it is so: for what no line tells."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        pause = threading.Event()
        while not true():
            assert time.monotonic() < deadline, f"{what}:\n{self.log}"
            pause.wait(0.02)

    # What is done to it.

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Tell it to end, and its exit code."""
        self.send(number)
        return self.code()

    def code(self) -> int:
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        return code


def supervised(*arguments: str, processes: int = 2, url: str = "memory://", **rest: Any) -> Program:
    """A pool of test tasks on the embedded server, with its endpoints on a free port."""
    common = ("--processes", str(processes), "--tasks", TASKS, "--docket", "d")
    network = ("--url", url, "--http", "127.0.0.1:0")
    return Program((*common, *network, *arguments), **rest)


@contextlib.contextmanager
def ready_pool(*arguments: str, **rest: Any) -> Iterator[Program]:
    """The same, ready."""
    with supervised(*arguments, **rest) as program:
        program.wait_for("pool ready")
        yield program
