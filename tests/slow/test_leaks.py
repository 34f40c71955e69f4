"""After hundreds of deaths the pool holds what it held before."""

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from docket import Docket
from tests.support.census import Holdings, files_below, holdings, nurseries_of
from tests.support.parameters import sets_in_full
from tests.support.supervised import PATIENCE_SECONDS, Program
from tests.support.user_code import copied

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240), pytest.mark.long]

PROCESSES = 6
#: What an allocator may keep of its own accord; what is lost at each death shows above it.
GROWTH_BYTES = 1_500_000
#: More than those of our own requests that may be under way when they are counted.
ASYNCIO_TASKS = 5


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: the sockets in it have paths of at most 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="leaks-", dir="/tmp") as name:
        yield Path(name)


def pool(folder: Path, preload: str) -> Program:
    """One that tells how many asyncio tasks its supervisor has, in folders of its own."""
    for name in ("runtime", "tmp"):
        (folder / name).mkdir()
    copied(folder, "counting_pool")
    environment = {"RUNTIME_DIRECTORY": f"{folder}/runtime", "TMPDIR": f"{folder}/tmp"}
    return Program(
        (preload,), environment, cwd=folder, command=(sys.executable, "counting_pool.py")
    )


class Watched:
    """A pool under observation: what it holds, in processes, in folders, on its server."""

    def __init__(self, program: Program, folder: Path, docket: Docket) -> None:
        self.program = program
        self.folder = folder
        self.docket = docket
        self._killed: set[int] = set()

    def workers(self) -> set[int]:
        return set(self.program.workers().values())

    def kill_workers(self, deaths: int) -> None:
        """Up to five of six at once, again and again."""
        while deaths > 0:
            victims = sorted(self.workers())[: min(deaths, PROCESSES - 1)]
            self.replace(victims)
            deaths -= len(victims)

    def replace(self, victims: list[int]) -> None:
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        self.program.until(
            lambda: len(self.workers() - set(victims)) == PROCESSES, "they were not replaced"
        )

    def nursery(self) -> int:
        """The one that is there, or comes."""
        found: set[int] = set()

        def is_there() -> bool:
            found.update(set(nurseries_of(self.program.process.pid)) - self._killed)
            return bool(found)

        self.program.until(is_there, "there is no nursery")
        return found.pop()

    def kill_nurseries(self, deaths: int) -> None:
        """Most while they start, each tenth when it has forked a worker."""
        for number in range(deaths):
            if number % 10 == 9:
                self.replace([min(self.workers())])
            self._killed = {self.nursery()}
            os.kill(*self._killed, signal.SIGKILL)

    def renew(self) -> None:
        """Have all workers from one nursery, which no death has hurried."""
        for pid in self.workers():
            self.replace([pid])

    def supervisor(self) -> Holdings:
        return holdings(self.program.process.pid)

    def files(self) -> set[str]:
        return files_below(self.folder / "runtime", self.folder / "tmp")

    def asyncio_tasks(self) -> int:
        return int((self.folder / "asyncio-tasks").read_text())

    async def consumers(self) -> tuple[int, set[str]]:
        """How many are registered, and those of the groups that are not."""
        async with self.docket.redis() as redis:
            registered = {each.decode() for each in await redis.hkeys("{d}:epochs")}
            grouped: set[str] = set()
            for stream in ("{d}:stream", "{d}:front", "{d}:suspects"):
                for each in await redis.xinfo_consumers(stream, "workers"):
                    grouped.add(each["name"].decode())
        return len(registered), grouped - registered

    async def no_dead_consumers(self) -> None:
        """What the dead left on the server is gone, at the latest when patience is over."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := await self.consumers()) != (PROCESSES, set()):
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.05)


def compare(what: str, before: Holdings, after: Holdings) -> None:
    """The figures stand in the output of a test that fails, or with -s."""
    sys.stdout.write(f"{what}\n  before {before}\n  after  {after}\n")
    assert after.counted == before.counted
    assert after.uss - before.uss < GROWTH_BYTES


# The first deaths are not counted: after them caches and arenas are as large as they get.
@pytest.mark.parametrize(
    ("preload", "warm_up", "deaths"),
    [
        ("preload", 30, 60),
        *sets_in_full(("no-preload", 10, 30), ("preload", 30, 200)),
    ],
)
async def test_deaths_of_workers_leave_nothing_behind(
    folder: Path, preload: str, warm_up: int, deaths: int
) -> None:
    with pool(folder, preload) as program:
        program.wait_for("pool ready")
        async with Docket("d", url=program.url) as docket:
            watched = Watched(program, folder, docket)
            watched.kill_workers(warm_up)
            nursery = watched.nursery()
            before = watched.supervisor(), holdings(nursery), watched.asyncio_tasks()
            files = watched.files()

            watched.kill_workers(deaths)

            assert program.status()["totals"]["restarts"] == warm_up + deaths
            compare("supervisor", before[0], watched.supervisor())
            compare("nursery", before[1], holdings(nursery))
            assert watched.asyncio_tasks() - before[2] < ASYNCIO_TASKS
            assert watched.files() == files
            await watched.no_dead_consumers()
        assert program.end() == 0
        assert list((folder / "runtime").iterdir()) == []


@pytest.mark.parametrize(("warm_up", "deaths"), [(5, 10), *sets_in_full((10, 50))])
async def test_deaths_of_nurseries_leave_nothing_behind(
    folder: Path, warm_up: int, deaths: int
) -> None:
    with pool(folder, "preload") as program:
        program.wait_for("pool ready")
        async with Docket("d", url=program.url) as docket:
            watched = Watched(program, folder, docket)
            watched.kill_nurseries(warm_up)
            watched.renew()
            before, files = watched.supervisor(), watched.files()

            watched.kill_nurseries(deaths)
            watched.renew()

            assert program.log.count("nursery ended") >= deaths
            compare("supervisor", before, watched.supervisor())
            assert watched.files() == files
            await watched.no_dead_consumers()
        assert program.end() == 0
