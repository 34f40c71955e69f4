"""A pool of worker processes under the real supervisor, observed through its own endpoints."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from stress.ports import free_port
from stress.program import ROOT, environment, start
from stress.server import docket_name

#: The real program.
PROGRAM = (sys.executable, "-m", "supervisor.cli")

STARTED_SECONDS = 60.0
STOPPED_SECONDS = 40.0
#: For one answer of an endpoint, before it counts as none.
ANSWER_SECONDS = 3.0
#: Between two requests for /status: much less than what is measured by them.
LOOK_SECONDS = 0.004
#: Characters of a log in an error.
MOST_PRINTED = 20_000

Status = dict[str, Any]


class PoolFailed(RuntimeError):
    """The supervisor ended, or did not reach the expected status in time."""


def ask(port: int, path: str, seconds: float = ANSWER_SECONDS) -> tuple[int, str]:
    """Request an endpoint on loopback, and return status code and body.

    By hand: http.client takes longer than the supervisor does.

    Raises:
        OSError: there was no whole answer.
    """
    with socket.create_connection(("127.0.0.1", port), seconds) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        pieces: list[bytes] = []
        while piece := connection.recv(1 << 16):
            pieces.append(piece)
    head, end_of_head, body = b"".join(pieces).partition(b"\r\n\r\n")
    length = f"content-length: {len(body)}".encode()
    if not end_of_head or length not in head.lower().split(b"\r\n"):
        raise ConnectionError(f"{path} was answered with {head!r} and {len(body)} bytes")
    return int(head.split(b" ", 2)[1]), body.decode()


class SupervisorProcess:
    """One supervisor of the real program, which may be started again after its end.

    Arguments:
        options: of its command line; a switch has the value "".
        log: the file to which its output is appended.
        program: the program that takes the options.
        folder: its working directory.
        variables: its environment.
        pass_fds: descriptors that it inherits.
    """

    def __init__(
        self,
        options: Mapping[str, str],
        log: Path,
        *,
        program: tuple[str, ...] = PROGRAM,
        folder: Path = ROOT,
        variables: Mapping[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> None:
        self.port = free_port()
        self.log = log
        options = {**options, "--http": f"127.0.0.1:{self.port}"}
        self._words = [*program, *(word for pair in options.items() for word in pair if word)]
        self._folder, self._variables, self._pass_fds = folder, variables, pass_fds
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the supervisor; 0 before its first start."""
        return 0 if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the supervisor."""
        with self.log.open("ab") as log:
            self._process = start(
                self._words,
                log,
                folder=self._folder,
                variables=self._variables,
                pass_fds=self._pass_fds,
            )

    def exit_code(self) -> int | None:
        """Return the exit code of the supervisor; None while it runs."""
        return None if self._process is None else self._process.poll()

    async def ended(self) -> int:
        """Wait for the end of the supervisor, and return its exit code."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait)

    async def drain(self) -> int:
        """Send TERM, wait for the end, and return the exit code."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return await self.ended()

    def kill(self) -> None:
        """Kill the supervisor if it still runs. Twice is fine."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    async def answer(self, path: str) -> tuple[int, str]:
        """Request one of its endpoints: status code and body; 0 while nobody answers."""
        try:
            return await asyncio.to_thread(ask, self.port, path)
        except OSError:
            return 0, ""

    async def status(self) -> Status | None:
        """Return the contents of /status; None while nobody answers."""
        code, body = await self.answer("/status")
        return json.loads(body) if code == HTTPStatus.OK else None

    async def until(
        self, condition: Callable[[Status], bool], seconds: float, every: float = LOOK_SECONDS
    ) -> Status:
        """Poll /status until it fulfils the condition, and return it.

        Raises:
            PoolFailed: it did not within `seconds`, or the supervisor ended.
        """
        status: Status | None = None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    if self.exit_code() is not None:
                        raise PoolFailed(self.printed())
                    status = await self.status()
                    if status is not None and condition(status):
                        return status
                    await asyncio.sleep(every)
        except TimeoutError:
            raise PoolFailed(f"not within {seconds:g} s; the last status: {status}") from None

    async def workers_ready(self, count: int) -> list[int]:
        """Wait until exactly that many workers are ready, and return their pids."""
        return ready_pids(
            await self.until(lambda status: len(ready_pids(status)) == count, STARTED_SECONDS)
        )

    def printed(self) -> str:
        """The end of what the supervisor logged, with its exit code."""
        log = self.log.read_text("utf-8", errors="replace")
        return f"the supervisor ended with {self.exit_code()}:\n{log[-MOST_PRINTED:]}"


def ready_pids(status: Status) -> list[int]:
    """The pids of the workers that are ready."""
    return [worker["pid"] for worker in status["workers"] if worker["state"] == "ready"]


@contextlib.asynccontextmanager
async def pool(
    url: str,
    name: str,
    *,
    processes: int,
    tasks: str,
    concurrency: int = 10,
    options: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
    program: tuple[str, ...] = PROGRAM,
    pass_fds: tuple[int, ...] = (),
) -> AsyncGenerator[SupervisorProcess]:
    """Run a pool during the block, all workers ready; it is drained after the block.

    Arguments:
        options: of the command line, beside those that follow from the other arguments.
        variables: of the environment, besides ours.

    Raises:
        PoolFailed: the pool did not get ready, or did not end with 0.
    """
    given = {
        "--url": url,
        "--docket": name,
        "--tasks": tasks,
        "--processes": str(processes),
        "--concurrency": str(concurrency),
        "--logging-level": "WARNING",
        **(options or {}),
    }
    with tempfile.TemporaryDirectory() as folder:
        running = SupervisorProcess(
            given,
            Path(folder, "log"),
            program=program,
            variables=environment(**(variables or {})),
            pass_fds=pass_fds,
        )
        running.start()
        try:
            await running.workers_ready(processes)
            yield running
            async with asyncio.timeout(STOPPED_SECONDS):
                code = await running.drain()
            if code != 0:
                raise PoolFailed(running.printed())
        finally:
            running.kill()


@contextlib.asynccontextmanager
async def settled_pool(
    url: str,
    *,
    processes: int,
    tasks: str,
    seconds: float,
    options: Mapping[str, str] | None = None,
) -> AsyncGenerator[tuple[SupervisorProcess, list[int]]]:
    """Run a pool on a docket of its own that is given some seconds after it is ready.

    By then its workers have run their loops, and its start no longer shows.
    """
    async with (
        docket_name(url) as name,
        pool(url, name, processes=processes, tasks=tasks, options=options) as running,
    ):
        await asyncio.sleep(seconds)
        yield running, await running.workers_ready(processes)
