"""Plays the service manager of a pool: keeps what it is told."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator
from pathlib import Path


class ServiceManager:
    """What came at the socket. Made by `service_manager`.

    Attributes:
        statuses: every STATUS=, with the monotonic second of its coming.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.statuses: list[tuple[float, str]] = []

    def hear(self, datagram: bytes) -> None:
        """Take one datagram: lines of NAME=VALUE."""
        for line in datagram.decode().splitlines():
            name, _, value = line.partition("=")
            if name == "STATUS":
                self.statuses.append((time.monotonic(), value))


@contextlib.asynccontextmanager
async def service_manager(path: Path) -> AsyncGenerator[ServiceManager]:
    """One that listens at that path for the time of the block."""
    manager, loop = ServiceManager(path), asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.setblocking(False)
        loop.add_reader(listener, lambda: manager.hear(listener.recv(4096)))
        try:
            yield manager
        finally:
            loop.remove_reader(listener)
