"""Monitors of an outage: the endpoints of the pool, and its words to the service manager."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from stress.chaos.hosts import Host
from stress.chaos.outage.metrics import Answer
from stress.waiting import repeat

LOOK_SECONDS = 0.1


class EndpointProbe:
    """The answers of /livez and /readyz, asked again and again as by a load balancer.

    Arguments:
        host: of the endpoints.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self.answers: list[Answer] = []

    async def monitor(self) -> None:
        """Ask until cancelled."""
        await repeat(self._look, LOOK_SECONDS)

    async def _look(self) -> None:
        for path in ("/livez", "/readyz"):
            asked_at = time.monotonic()
            code, body = await self._host.answer(path)
            self.answers.append(Answer(asked_at, path, code, body.strip()))


class ServiceManager:
    """The messages at the socket of a service manager. Made by `service_manager`.

    Attributes:
        statuses: every STATUS=, with the monotonic second of its arrival.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.statuses: list[tuple[float, str]] = []

    def receive(self, datagram: bytes) -> None:
        """Take one datagram: lines of NAME=VALUE."""
        for line in datagram.decode().splitlines():
            name, _, value = line.partition("=")
            if name == "STATUS":
                self.statuses.append((time.monotonic(), value))


@contextlib.asynccontextmanager
async def service_manager(path: Path) -> AsyncGenerator[ServiceManager]:
    """Listen at that path for the time of the block."""
    manager, loop = ServiceManager(path), asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.setblocking(False)
        loop.add_reader(listener, lambda: manager.receive(listener.recv(4096)))
        try:
            yield manager
        finally:
            loop.remove_reader(listener)
