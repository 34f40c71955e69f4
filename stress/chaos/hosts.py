"""A host: one supervisor with its pool, behind a network of its own, with a clock of its own."""

import asyncio
import contextlib
import importlib.util
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psutil

from stress.chaos.ledger import FOLDER_VARIABLE
from stress.chaos.network import Direct, Network
from stress.chaos.plan import Kind
from stress.chaos.processes import Census, lives, tree
from stress.ports import free_port
from stress.tree import ROOT, environment

#: A run whose lease is not renewed for this long is delivered again.
LEASE_SECONDS = 4.0
#: What is running when it is told to end has this long.
DRAIN_SECONDS = 3.0
#: A loop that is silent for this long costs its process its life.
STALL_SECONDS = 12.0
READY_SECONDS = 60.0
_LOOK_SECONDS = 0.1

Status = dict[str, Any]


def release(folder: Path, version: int) -> None:
    """Write a version of the tasks' module where the pools import it from."""
    folder.mkdir(parents=True, exist_ok=True)
    text = f"from stress.chaos.kinds import tasks\n\n__all__ = ['tasks']\nVERSION = {version}\n"
    (folder / "chaos_jobs.py").write_text(text)


def can_fake_clocks() -> bool:
    """Whether the library for it is there."""
    return faked_clock(1) is not None


def faked_clock(seconds: int) -> dict[str, str] | None:
    """The environment in which the wall clock is off by so much; None without the library for it.

    The monotonic clock stays: the ledger's times are of one clock.
    """
    spec = importlib.util.find_spec("libfaketime")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0], "vendor", "libfaketime", "src")
    library = folder / "libfaketime.so.1"
    if not library.is_file():
        return None
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{seconds:+d}",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_SKIP_CMDS": "sh,bash,true",
    }


class Host:
    """Starts and restarts its supervisor; knows every process that it had.

    Arguments:
        number: from 0.
        network: between it and the server, which it finds there.
        clock_off_seconds: by how much its wall clock is wrong.
        environment: what its supervisor gets besides ours.
    """

    def __init__(
        self,
        number: int,
        folder: Path,
        network: Network | Direct,
        census: Census,
        *,
        docket: str,
        processes: int,
        clock_off_seconds: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.number = number
        self._between = network
        self.release = folder / f"host-{number}"
        self.control = folder / f"c{number}.sock"
        self._folder, self._census = folder, census
        self._docket, self._processes = docket, processes
        self.clock_off = clock_off_seconds
        self._clock = faked_clock(clock_off_seconds) if clock_off_seconds else {}
        self._environment = dict(environment or {})
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        #: What is done to all of it; other faults keep away meanwhile.
        self.busy_with: Kind | None = None
        #: Every process that it was seen to have.
        self.pids: set[int] = set()
        self.version = 1
        release(self.release, 1)

    @property
    def network(self) -> Network:
        """That between it and the server: only where there is one is it broken."""
        assert isinstance(self._between, Network)
        return self._between

    @property
    def url(self) -> str:
        """Where it finds the server."""
        return self._between.url

    @property
    def pid(self) -> int:
        """Of its supervisor; 0 without one."""
        return 0 if self._process is None else self._process.pid

    @property
    def log(self) -> Path:
        """What its supervisors said, all of them."""
        return self._folder / f"host-{self.number}.log"

    def start(self) -> None:
        """Start its supervisor."""
        self._starts += 1
        options = {
            "--url": self.url,
            "--docket": self._docket,
            "--tasks": "chaos_jobs:tasks",
            "--processes": str(self._processes),
            "--http": f"127.0.0.1:{self._port}",
            "--control": str(self.control),
            "--redelivery-timeout": f"{LEASE_SECONDS}s",
            "--drain-timeout": f"{DRAIN_SECONDS}s",
            "--stall-warning": "5s",
            "--stall-timeout": f"{STALL_SECONDS}s",
            "--boot-timeout": "60s",
            # Whether it gives up is not what is tested here; it is killed far oftener than that.
            "--max-restarts": "100000",
            "--backoff-max": "1s",
            "--logging-format": "plain",
        }
        variables = {
            **environment(),
            **(self._clock or {}),
            **self._environment,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PWD": str(self.release),
            FOLDER_VARIABLE: str(self._folder),
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "supervisor.cli", "run"),
                    *(word for option in options.items() for word in option),
                ],
                cwd=self.release,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._saw([self.pid])

    def exit_code(self) -> int | None:
        """That of its supervisor, once it has ended."""
        return None if self._process is None else self._process.poll()

    async def ended(self) -> int:
        """Wait for its supervisor's end; its exit code."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait)

    def family(self) -> list[int]:
        """Its supervisor and all below it, noted for the end."""
        pids = tree(self.pid) if self._process is not None else []
        self._saw(pids)
        return pids

    def leftovers(self) -> list[int]:
        """Every process that was started in its release folder, whoever is its parent now."""
        mine: list[int] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("PWD") == str(self.release):
                    mine.append(process.pid)
        self._saw(mine)
        return mine

    async def status(self) -> Status | None:
        """What /status says; None while nobody answers."""
        code, body = await self.answer("/status")
        if code != HTTPStatus.OK:
            return None
        status: Status = json.loads(body)
        return status

    async def answer(self, path: str) -> tuple[int, str]:
        """Status and body of one of its endpoints; 0 while nobody answers."""
        return await asyncio.to_thread(self._answer, path)

    def _answer(self, path: str) -> tuple[int, str]:
        try:
            url = f"http://127.0.0.1:{self._port}{path}"
            with urllib.request.urlopen(url, timeout=3) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    async def workers(self) -> list[int]:
        """Its workers that live, in the order of their slots."""
        status = await self.status()
        rows = [] if status is None else status["workers"]
        pids = [row["pid"] for row in rows if row["pid"] is not None and row["state"] != "dead"]
        self._saw(pids)
        return [pid for pid in pids if lives(pid)]

    def _saw(self, pids: list[int]) -> None:
        self.pids.update(pids)
        self._census.add(pids)

    async def until(self, condition: Callable[[Status], bool]) -> None:
        """Return once /status fulfils the condition.

        Raises:
            TimeoutError: it did not within READY_SECONDS.
        """
        async with asyncio.timeout(READY_SECONDS):
            while True:
                status = await self.status()
                if status is not None and condition(status):
                    return
                if self.exit_code() is not None:
                    raise TimeoutError("the supervisor has ended")
                await asyncio.sleep(_LOOK_SECONDS)

    async def ready(self) -> None:
        """Return once it runs with all of its workers ready."""
        await self.until(
            lambda status: (
                status["supervisor"]["state"] == "running"
                and sum(row["state"] == "ready" for row in status["workers"])
                >= status["supervisor"]["target"]
            )
        )

    async def ctl(self, *words: str) -> int:
        """Run a command of ctl; its exit code."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "supervisor.cli", "ctl", "--control", str(self.control)),
            *words,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(READY_SECONDS):
                return await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            return -1

    async def drain(self) -> int:
        """TERM, and its exit code."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return await self.ended()
