"""A host: one supervisor with its pool, behind a network of its own, with a clock of its own."""

import asyncio
import contextlib
import importlib.util
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil

from stress.chaos.network import Direct, Network
from stress.chaos.plan import Kind
from stress.history import FOLDER_VARIABLE
from stress.pool import PROGRAM, SupervisorProcess
from stress.processes import Census, lives, tree
from stress.program import environment, start

#: A run whose lease is not renewed for this long is delivered again.
LEASE_SECONDS = 4.0
#: Running tasks have this long to end in a drain.
DRAIN_SECONDS = 3.0
#: A process whose loop is silent for this long is killed.
STALL_SECONDS = 12.0
READY_SECONDS = 60.0
_LOOK_SECONDS = 0.1


def release(folder: Path, version: int) -> None:
    """Write a version of the tasks' module into the folder from which the pools import it."""
    folder.mkdir(parents=True, exist_ok=True)
    text = (
        f"from stress.chaos.task_kinds import tasks\n\n__all__ = ['tasks']\nVERSION = {version}\n"
    )
    (folder / "chaos_jobs.py").write_text(text)


def can_fake_clocks() -> bool:
    """Return True if libfaketime is there."""
    return faked_clock(1) is not None


def faked_clock(seconds: int) -> dict[str, str] | None:
    """Return variables that make the wall clock wrong by so much; None without libfaketime.

    The monotonic clock stays right: it is the one clock of the history.
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


class Host(SupervisorProcess):
    """One supervisor, started again as often as needed, and every process that it had.

    Arguments:
        number: from 0.
        network: between it and the server.
        clock_off_seconds: the error of its wall clock.
        variables: of its supervisor's environment, besides ours.
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
        clock_off_seconds: int = 0,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.number = number
        self._between = network
        self.release = folder / f"host-{number}"
        self.control = folder / f"c{number}.sock"
        self._census = census
        self.clock_off = clock_off_seconds
        clock = faked_clock(clock_off_seconds) if clock_off_seconds else None
        #: The fault that has all of it; others are skipped meanwhile.
        self.busy_with: Kind | None = None
        #: Every process that it was seen to have.
        self.pids: set[int] = set()
        self.version = 1
        release(self.release, 1)
        options = {
            "--url": network.url,
            "--docket": docket,
            "--tasks": "chaos_jobs:tasks",
            "--processes": str(processes),
            "--control": str(self.control),
            "--redelivery-timeout": f"{LEASE_SECONDS}s",
            "--drain-timeout": f"{DRAIN_SECONDS}s",
            "--stall-warning": "5s",
            "--stall-timeout": f"{STALL_SECONDS}s",
            "--boot-timeout": "60s",
            # It is killed far oftener than a supervisor should put up with.
            "--max-restarts": "100000",
            "--backoff-max": "1s",
            "--logging-format": "plain",
        }
        given = {
            **(clock or {}),
            **(variables or {}),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PWD": str(self.release),
            FOLDER_VARIABLE: str(folder),
        }
        super().__init__(
            options,
            folder / f"host-{number}.log",
            folder=self.release,
            variables=environment(**given),
        )

    @property
    def network(self) -> Network:
        """The network between it and the server, where there is one to break."""
        assert isinstance(self._between, Network)
        return self._between

    @property
    def url(self) -> str:
        """The URL of the server, from this host."""
        return self._between.url

    def start(self) -> None:
        """Start its supervisor."""
        super().start()
        self._saw([self.pid])

    def family(self) -> list[int]:
        """Its supervisor and all processes below it, noted for the end."""
        pids = tree(self.pid)
        self._saw(pids)
        return pids

    def leftovers(self) -> list[int]:
        """Find every process started in its release folder, whatever its parent is now."""
        mine: list[int] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("PWD") == str(self.release):
                    mine.append(process.pid)
        self._saw(mine)
        return mine

    async def workers(self) -> list[int]:
        """Its living workers, in the order of their slots."""
        status = await self.status()
        rows = [] if status is None else status["workers"]
        pids = [row["pid"] for row in rows if row["pid"] is not None and row["state"] != "dead"]
        self._saw(pids)
        return [pid for pid in pids if lives(pid)]

    def _saw(self, pids: list[int]) -> None:
        self.pids.update(pids)
        self._census.add(pids)

    async def ready(self) -> None:
        """Wait until it runs with all of its workers ready.

        Raises:
            PoolFailed: it did not within READY_SECONDS, or its supervisor ended.
        """
        await self.until(
            lambda status: (
                status["supervisor"]["state"] == "running"
                and sum(row["state"] == "ready" for row in status["workers"])
                >= status["supervisor"]["target"]
            ),
            READY_SECONDS,
            _LOOK_SECONDS,
        )

    async def ctl(self, *words: str) -> int:
        """Run a command of ctl, and return its exit code; -1 if it hangs."""
        process = start([*PROGRAM, "ctl", "--control", str(self.control), *words])
        try:
            return await asyncio.to_thread(process.wait, READY_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)
            return -1
