"""Control sockets for tests: a server without a pool, and its clients."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ipc.control import (
    MAX_ANSWER,
    PROTOCOL,
    ControlHello,
    FromClient,
    Report,
    StatusRequest,
    ToClient,
)
from ipc.framing import Decoder, encode
from supervisor.control import claim
from supervisor.control.server import ControlServer
from supervisor.inbox import Inbox
from supervisor.pool.state.inbox_events import CommandReceived
from supervisor.pool.state.pool_commands import Command, Outcome
from tests.support.supervised import ROOT

#: Nothing takes this long, even on a loaded machine.
PATIENCE_SECONDS = 20.0

GREETING = encode(ControlHello(PROTOCOL, 1))

#: A small status with all of its parts.
REPORT: dict[str, Any] = {
    "supervisor": {"pid": 1, "state": "running", "docket": "orders"},
    "workers": [],
    "totals": {},
}


class Caller:
    """The client's end of a control socket, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._decoder: Decoder[ToClient] = Decoder(ToClient, MAX_ANSWER)
        self._unread: list[ToClient] = []

    @classmethod
    async def connect(cls, path: Path, sent: bytes = b"") -> Self:
        """Connect, and send `sent` before the other end can have read anything."""
        connected = socket.socket(socket.AF_UNIX)
        try:
            connected.connect(str(path))
            connected.sendall(sent)
        except OSError:
            connected.close()
            raise
        connected.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=connected))

    def send(self, *messages: FromClient) -> None:
        self.writer.write(b"".join(map(encode, messages)))

    async def receive(self) -> ToClient | None:
        """The next message; None at the end of the connection."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self._unread:
                try:
                    data = await self.reader.read(1 << 16)
                except ConnectionResetError:
                    return None
                if not data:
                    return None
                self._unread += self._decoder.feed(data)
        return self._unread.pop(0)

    async def rest(self) -> list[ToClient]:
        """Everything until the end of the connection."""
        received: list[ToClient] = []
        while (message := await self.receive()) is not None:
            received.append(message)
        return received

    async def ask(self, request: FromClient) -> ToClient | None:
        self.send(request)
        return await self.receive()

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return


@dataclass
class Served:
    """A control socket that is served, and the inbox that a pool would read."""

    path: Path
    control: ControlServer
    inbox: Inbox = field(default_factory=Inbox)

    async def caller(self) -> Caller:
        """Connect a client that has said Hello."""
        caller = await Caller.connect(self.path)
        caller.send(ControlHello(PROTOCOL, os.getpid()))
        greeting = await caller.receive()
        assert isinstance(greeting, ControlHello)
        return caller

    async def next_command(self) -> CommandReceived:
        """Wait for the next command."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            event, _ = await self.inbox.take()
        assert isinstance(event, CommandReceived)
        return event

    async def still_serves(self) -> None:
        """Fail unless another client gets its answer."""
        caller = await Caller.connect(self.path, GREETING + encode(StatusRequest()))
        assert isinstance(await caller.receive(), ControlHello)
        assert isinstance(await caller.receive(), Report)
        await caller.close()

    async def answer_next(self, outcome: Outcome) -> Command:
        """Wait for the next command, answer it, and return it."""
        command = await self.next_command()
        command.answer(outcome)
        return command.command


@asynccontextmanager
async def served(
    path: Path, report: dict[str, Any] | None = None, *, guest: bool = False
) -> AsyncGenerator[Served]:
    """Serve a control socket at `path` without a pool."""
    inbox = Inbox()
    claimed = await claim.claim_given(str(path))
    control = ControlServer(
        claimed, inbox, lambda: REPORT if report is None else report, guest=guest
    )
    await control.start()
    try:
        yield Served(path, control, inbox)
    finally:
        await control.stop()
        await control.stop()
        claimed.release()


#: Leaves a child behind that inherits every descriptor that can be inherited.
HOLDER = """
import pathlib, socket, subprocess, sys
from supervisor.control import lock_file
path = pathlib.Path(sys.argv[1])
lock = lock_file.take(path)
bound = socket.socket(socket.AF_UNIX)
bound.bind(str(path))
subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], close_fds=False)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_elsewhere(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Have another process hold the lock and a socket, until it is killed or the block ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def names_in(folder: Path) -> set[str]:
    """The names of all files in a folder."""
    return {each.name for each in folder.iterdir()}
