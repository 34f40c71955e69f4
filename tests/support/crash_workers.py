"""Worker processes of stories, born quickly and killed: a process that has imported all and forks.

Its own program, so that the test's threads and loop are in no child:

    NAME \t URL \t DOCKET \t LEDGER   ->  the pid of a worker that tells that story
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import uvloop

from docket import Docket
from docket.supervision import Unsupervised
from tests.support.crash_scenarios import Ledger, Stories, known, worker_of

ROOT = Path(__file__).parent.parent.parent


class Children:
    """The parent of workers. Made by `children`."""

    def __init__(self, process: Any) -> None:
        self._process = process

    async def bear(self, story: str, url: str, docket_name: str, ledger: Path) -> int:
        """The pid of a new worker."""
        line = "\t".join((story, url, docket_name, str(ledger)))
        self._process.stdin.write(line.encode() + b"\n")
        return int(await self._process.stdout.readline())

    async def bury(self, pid: int) -> None:
        """Kill a worker if it lives, and return when its parent has seen it dead."""
        self._process.stdin.write(f"{pid}\n".encode())
        assert int(await self._process.stdout.readline()) == pid


@asynccontextmanager
async def children() -> AsyncGenerator[Children]:
    """The program, while the context lasts."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.crash_workers"),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Children(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def _work(story: str, url: str, docket_name: str, ledger: str) -> None:
    async with Docket(docket_name, url) as docket:
        Stories(Ledger(Path(ledger))).register(docket, *known(story).functions)
        worker = worker_of(docket)
        worker.appoint_steward(True)
        await worker.run_supervised(Unsupervised())


def main() -> None:
    """Fork a worker for each line of four words; kill and reap one for each line of one."""
    # Connections break and tasks fail by the hundred here.
    logging.disable(logging.CRITICAL)
    alive = set[int]()
    # Whoever asked may be gone before it is answered.
    with suppress(BrokenPipeError):
        for line in sys.stdin:
            _answer(line.rstrip("\n").split("\t"), alive)
    # The tests were killed. A worker that is left would connect for ever to a port that is
    # another's by now: a later walk would find its calls, of older scripts, among its own.
    for pid in alive:
        _kill(pid)


def _answer(words: list[str], alive: set[int]) -> None:
    if len(words) == 1:
        pid = int(words[0])
        _kill(pid)
        alive.discard(pid)
    else:
        pid = os.fork()
        if pid == 0:
            alive.clear()
            sys.stdin.close()
            uvloop.run(_work(*words))
            os._exit(0)
        alive.add(pid)
    sys.stdout.write(f"{pid}\n")
    sys.stdout.flush()


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
