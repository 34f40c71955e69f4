"""Pools of a user's own modules, in a folder of the user's, started as the installed program is."""

import asyncio
import contextlib
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil

from docket import Docket
from tests.support.supervised import PATIENCE_SECONDS, Program

#: As the console script starts: the working directory is not on the supervisor's own path.
INSTALLED = (sys.executable, "-P", "-m", "supervisor.cli")
#: Where the modules of users stand that are more than a few lines.
USERS = Path(__file__).parent / "users"
#: No pause between restarts and no end of them: the deaths are the point.
RESTLESS = ("--backoff-max", "0s", "--max-restarts", "100000")


def copied(folder: Path, *modules: str) -> None:
    """Put these modules of USERS into a user's folder."""
    for module in modules:
        shutil.copy(USERS / f"{module}.py", folder)


def pool_in(
    folder: Path, *arguments: str, tasks: str = "jobs:tasks", processes: int = 2, **rest: Any
) -> Program:
    """A pool that runs the tasks of a user's folder, from there, on the embedded server."""
    common = ("--processes", str(processes), "--tasks", tasks, "--docket", "d")
    network = ("--url", "memory://", "--http", "127.0.0.1:0")
    return Program((*common, *network, *arguments), cwd=folder, command=INSTALLED, **rest)


@contextlib.contextmanager
def ready_pool_in(folder: Path, *arguments: str, **rest: Any) -> Iterator[Program]:
    """The same, ready."""
    with pool_in(folder, *arguments, **rest) as program:
        program.wait_for("pool ready")
        yield program


class Producer:
    """Schedules tasks by name: their module is the user's, and not on the path of the tests."""

    def __init__(self, docket: Docket) -> None:
        self.docket = docket

    async def add(self, name: str, *args: Any) -> "Sent":
        if name not in self.docket.tasks:
            self.docket.register(_elsewhere, names=[name])
        return Sent(await self.docket.add(name)(*args))

    async def call(self, name: str, *args: Any) -> Any:
        """Run a task to its end; its result."""
        return await (await self.add(name, *args)).result()


class Sent:
    """A task that was scheduled."""

    def __init__(self, execution: Any) -> None:
        self.execution = execution

    async def result(self) -> Any:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.execution.get_result()

    async def failure(self) -> BaseException:
        """What it failed with."""
        try:
            result = await self.result()
        except TimeoutError:
            raise
        except BaseException as error:
            return error
        raise AssertionError(f"it did not fail: {result!r}")


async def _elsewhere(*args: Any) -> None:
    """Stands for a task that only the pool has."""


@contextlib.asynccontextmanager
async def producer(program: Program) -> AsyncIterator[Producer]:
    async with Docket(name="d", url=program.url) as docket:
        yield Producer(docket)


def descendants(pid: int) -> list[psutil.Process]:
    """Every process below that one."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def still_alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended when patience is over; normally none, at once."""
    return psutil.wait_procs(processes, timeout=PATIENCE_SECONDS / 2)[1]
