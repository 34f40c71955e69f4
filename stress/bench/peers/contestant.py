"""One contestant: a peer in its environment, with the processes that are started for it."""

import asyncio
import contextlib
import json
import signal
import subprocess
import tempfile
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from stress.bench.peers.catalogue import Peer
from stress.bench.peers.environments import AdapterProgram
from stress.processes import tree
from stress.program import environment, start

#: For a process that only adds or describes.
ADD_SECONDS = 120.0
#: From TERM to KILL: what is left is thrown away.
STOP_SECONDS = 5.0
_TAIL = 4000
#: Of the queue.
NAME = "peers"


class AdapterFailed(RuntimeError):
    """A process of an adapter failed or hung; the message has the end of its output."""


@dataclass
class Workers:
    """The worker processes of one measurement."""

    roots: list[subprocess.Popen[bytes]]
    log: Path
    #: Every process that was seen, so that it can be ended; psutil knows a pid that is used again.
    seen: dict[int, psutil.Process] = field(default_factory=dict[int, psutil.Process])

    def pids(self) -> list[int]:
        """List the processes that run now, and those that they have started."""
        living = [pid for root in self.roots if root.poll() is None for pid in tree(root.pid)]
        for pid in living:
            with contextlib.suppress(psutil.NoSuchProcess):
                self.seen.setdefault(pid, psutil.Process(pid))
        return living

    def check(self) -> None:
        """Raise if a worker has ended by itself.

        Raises:
            AdapterFailed: one has.
        """
        for root in self.roots:
            if (code := root.poll()) is not None:
                raise AdapterFailed(f"a worker ended with {code}: {tail(self.log)}")

    def printed(self) -> str:
        """The end of their output."""
        return tail(self.log)


@dataclass(frozen=True)
class Contestant:
    """A peer that is installed.

    Arguments:
        peer: its entry in the catalogue.
        program: what runs its adapter.
        url: of the server that all share.
    """

    peer: Peer
    program: AdapterProgram
    url: str

    async def describe(self) -> dict[str, Any]:
        """Ask for its settings and versions.

        Raises:
            AdapterFailed: its environment does not work.
        """
        with tempfile.TemporaryDirectory() as folder:
            return await self._call("describe", Path(folder), {})

    async def add(self, folder: Path, way: str, count: int, **options: Any) -> dict[str, float]:
        """Add tasks in a process of its own: `bulk`, `single`, `paced`, `scheduled`, `linger`.

        Raises:
            AdapterFailed: it failed, or took over ADD_SECONDS.
        """
        return await self._call("add", folder, {"way": way, "count": count, **options})

    @contextlib.asynccontextmanager
    async def working(
        self, folder: Path, processes: int, concurrency: int, **options: Any
    ) -> AsyncGenerator[Workers]:
        """Run worker processes during the block; they and what they started are ended after it."""
        given = {"concurrency": concurrency, "processes": processes, **options}
        log = folder / "log"
        workers = Workers([], log)
        roots = 1 if self.peer.pool else processes
        roles = ["worker"] * roots
        if self.peer.scheduler and options.get("scheduled"):
            roles.append("scheduler")
        try:
            with log.open("ab") as output:
                for number, role in enumerate(roles):
                    variables = self._variables(folder, {**given, "worker": number})
                    words = [*self.program.words, role]
                    workers.roots.append(start(words, output, folder=folder, variables=variables))
            yield workers
        finally:
            await _end(workers)

    def _variables(self, folder: Path, options: dict[str, Any]) -> dict[str, str]:
        given = {"url": self.url, "name": NAME, "folder": str(folder)}
        given |= {**self.peer.options, **options}
        # PYTHONPATH is replaced, so that a peer never finds our packages.
        return environment(**{**self.program.variables, "PEER_OPTIONS": json.dumps(given)})

    async def _call(self, role: str, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            *self.program.words,
            role,
            cwd=folder,
            env=self._variables(folder, options),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(ADD_SECONDS):
                out, err = await process.communicate()
        except TimeoutError:
            raise AdapterFailed(f"{role} did not end within {ADD_SECONDS:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise AdapterFailed(f"{role} ended with {process.returncode}: {err.decode()[-_TAIL:]}")
        return _told(role, out.decode())


def _told(role: str, printed: str) -> dict[str, Any]:
    """Read the last line; a peer may have printed others before it."""
    lines = printed.splitlines() or [""]
    try:
        return json.loads(lines[-1])
    except ValueError:
        raise AdapterFailed(f"{role} printed no JSON: {printed[-_TAIL:]}") from None


def tail(log: Path) -> str:
    """The end of a log."""
    return log.read_text("utf-8", errors="replace")[-_TAIL:].strip()


def _started_for(folder: Path) -> list[psutil.Process]:
    """Find by its options what a pool has started since it was last looked at."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if f'"{folder}"' in process.environ().get("PEER_OPTIONS", ""):
                found.append(process)
    return found


async def _end(workers: Workers) -> None:
    workers.pids()
    for root in workers.roots:
        if root.poll() is None:
            root.send_signal(signal.SIGTERM)
    ended = [asyncio.to_thread(root.wait) for root in workers.roots]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_SECONDS):
            await asyncio.gather(*ended)
    for process in (*workers.seen.values(), *_started_for(workers.log.parent)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    for root in workers.roots:
        root.wait()
