"""The pool as the dashboard knows it: asked and told over its control socket."""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from docket.pool_control import PoolFailure
from ipc.control import (
    DumpRequest,
    ReloadRequest,
    Request,
    RestartRequest,
    ScaleBetweenRequest,
    ScaleRequest,
)
from supervisor import process_range
from supervisor.config import MOST_PROCESSES, PROCESSES_ACCEPTED
from supervisor.ctl.client import Client
from supervisor.errors import SupervisorError

T = TypeVar("T")

#: The time for which an answer is waited for, in seconds; what takes longer goes on.
PATIENCE_SECONDS = 5.0


class SocketPool:
    """The control of a pool by its control socket, for a dashboard.

    Every call is a connection of its own, in a thread: a supervisor that was replaced is found.

    Arguments:
        path: of the control socket.
        docket: the name of the docket that the pool works on.
    """

    def __init__(self, path: Path, docket: str) -> None:
        self._path = path
        self.docket = docket
        #: Requests that go on after nobody waits for them any more.
        self._going_on: set[asyncio.Task[Any]] = set()

    async def status(self) -> Mapping[str, Any]:
        """Read the report of /status.

        Raises:
            PoolFailure: the supervisor is gone, or does not answer; as all of these do.
        """
        report = await self._within(lambda: json.loads(_status(self._path)))
        if report is None:
            raise PoolFailure("The supervisor does not answer: it is stopped, or it hangs.")
        return report

    async def scale(self, size: str) -> str:
        """Change the size of the pool: a number, or LEAST:MOST."""
        return await self._told(_scale_request(size), "The change of size")

    async def reload(self) -> str:
        """Begin to import the code anew, and to replace every worker."""
        return await self._told(ReloadRequest(wait=False), "The reload")

    async def restart(self, slot: int) -> str:
        """Replace the worker in a slot."""
        if not 1 <= slot <= MOST_PROCESSES:
            raise PoolFailure(f"There is no slot {slot}.")
        return await self._told(RestartRequest(slot), f"The restart of slot {slot}")

    async def dump(self) -> str:
        """Write the stacks and tasks of every worker to the log of the pool."""
        return await self._told(DumpRequest(), "The dump")

    async def _told(self, request: Request, name: str) -> str:
        done = await self._within(lambda: _ask(self._path, request))
        return f"{name} goes on." if done is None else done

    async def _within(self, call: Callable[[], T]) -> T | None:
        """Call in a thread; None if it takes longer than PATIENCE_SECONDS, and goes on."""
        calling = asyncio.create_task(asyncio.to_thread(_translated, call))
        self._going_on.add(calling)
        calling.add_done_callback(self._forget)
        done, _ = await asyncio.wait({calling}, timeout=PATIENCE_SECONDS)
        return calling.result() if done else None

    def _forget(self, calling: asyncio.Task[Any]) -> None:
        self._going_on.discard(calling)
        if not calling.cancelled():
            calling.exception()  # Of one that nobody waits for any more, nobody can be told.


def _translated(call: Callable[[], T]) -> T:
    try:
        return call()
    except SupervisorError as error:
        raise PoolFailure(str(error)) from error


def _status(path: Path) -> str:
    with Client(path) as client:
        return client.status()


def _ask(path: Path, request: Request) -> str:
    with Client(path) as client:
        return client.ask(request, timeout_seconds=None).text


def _scale_request(size: str) -> ScaleRequest | ScaleBetweenRequest:
    try:
        read = process_range.parse(size)
    except ValueError:
        raise PoolFailure(
            f"The size of a pool is {PROCESSES_ACCEPTED}, not {size[:80]!r}."
        ) from None
    least, most = (read, read) if isinstance(read, int) else (read.least, read.most)
    if not 1 <= least <= most <= MOST_PROCESSES:
        raise PoolFailure(f"The size of a pool is {PROCESSES_ACCEPTED}, not {size[:80]!r}.")
    return ScaleRequest(read) if isinstance(read, int) else ScaleBetweenRequest(least, most)
