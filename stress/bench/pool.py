"""A pool of worker processes under the real runtime, asked by its own endpoints."""

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from typing import IO, Any

from stress.ports import free_port
from stress.tree import ROOT, environment

#: The real program.
PROGRAM = (sys.executable, "-m", "supervisor.cli")

STARTED_SECONDS = 60.0
STOPPED_SECONDS = 40.0

#: Between two looks at /status: much less than what is measured by looking.
LOOK_SECONDS = 0.004

Status = dict[str, Any]


class PoolFailed(RuntimeError):
    """The runtime ended, or did not get where it was expected in time."""


class Pool:
    """One run of docket-supervisor. Made by `pool`."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, log: IO[bytes]) -> None:
        self._process = process
        self._log = log
        self.port = port
        self._status_url = f"http://127.0.0.1:{port}/status"

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        return self._process.pid

    async def status(self) -> Status | None:
        """What /status says; None while nobody answers there."""
        try:
            return await asyncio.to_thread(_get_json, self._status_url)
        except (urllib.error.URLError, ConnectionError):
            return None

    async def until(self, condition: Callable[[Status], bool], seconds: float) -> Status:
        """Look at /status until `condition` holds of it.

        Raises:
            PoolFailed: it did not within `seconds`, or the runtime ended.
        """
        status: Status | None = None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    if self._process.returncode is not None:
                        raise PoolFailed(await self.printed())
                    status = await self.status()
                    if status is not None and condition(status):
                        return status
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise PoolFailed(f"not within {seconds:g} s; the last status: {status}") from None

    async def printed(self) -> str:
        """Everything the runtime logged, once it has ended."""
        await self._process.wait()
        self._log.seek(0)
        log = self._log.read().decode()
        return f"the runtime ended with {self._process.returncode}:\n{log}"


def ready_pids(status: Status) -> list[int]:
    """The processes of the workers that are ready."""
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
    program: tuple[str, ...] = PROGRAM,
    pass_fds: tuple[int, ...] = (),
) -> AsyncIterator[Pool]:
    """A pool whose workers are all ready; drained and ended after the block.

    Args:
        options: words of the command line beside those that follow from the other arguments; a
            switch (--no-preload) has the value "".
        program: what takes these words.
        pass_fds: descriptors for the program.
    """
    port = free_port()
    given = {
        "--url": url,
        "--docket": name,
        "--tasks": tasks,
        "--processes": str(processes),
        "--concurrency": str(concurrency),
        "--http": f"127.0.0.1:{port}",
        "--logging-level": "WARNING",
        **(options or {}),
    }
    # The log goes to a file: nobody reads a pipe in time, and one that is full costs lines.
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *program,
            *(word for option in given.items() for word in option if word),
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            pass_fds=pass_fds,
        )
        async with _drained_after(process, Pool(process, port, log)) as running:
            await running.until(
                lambda status: len(ready_pids(status)) == processes, STARTED_SECONDS
            )
            yield running


@contextlib.asynccontextmanager
async def _drained_after(process: asyncio.subprocess.Process, running: Pool) -> AsyncIterator[Pool]:
    try:
        yield running
        process.terminate()
        async with asyncio.timeout(STOPPED_SECONDS):
            printed = await running.printed()
        if process.returncode != 0:
            raise PoolFailed(printed)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _get_json(url: str) -> Status:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)
