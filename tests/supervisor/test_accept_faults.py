"""At the limit of descriptors the log of a pool stays short, and the endpoints come back."""

import asyncio
import logging
import os
import resource
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from supervisor.accept_faults import told_seldom
from supervisor.config import Address
from supervisor.monitoring.http_server import HttpServer

pytestmark = pytest.mark.anyio


async def test_the_limit_of_descriptors_is_one_line_and_connections_are_taken_afterwards(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    server = HttpServer(Address("127.0.0.1", 0), {})
    faults, told_of_it = 0, asyncio.Event()

    def count(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        nonlocal faults
        faults += 1

    def note(_record: logging.LogRecord) -> bool:
        told_of_it.set()
        return True

    caplog.handler.addFilter(note)
    asyncio.get_running_loop().set_exception_handler(count)
    with told_seldom(), socket.socket() as client, ExitStack() as held:
        address = await server.start()
        client.setblocking(False)
        try:
            # As many as are open now, and none beside them: not one that somebody has closed.
            highest = fill_gaps(held)
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, before[1]))
            await asyncio.get_running_loop().sock_connect(client, (address.host, address.port))
            async with asyncio.timeout(20):
                await told_of_it.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        await asyncio.get_running_loop().sock_sendall(client, b"GET / HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(20):
            assert await asyncio.get_running_loop().sock_recv(client, 100)
        asyncio.get_running_loop().call_exception_handler({"message": "of another kind"})
        await server.stop()
    asyncio.get_running_loop().set_exception_handler(None)
    caplog.handler.removeFilter(note)

    told = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(told) == 1
    assert "no connection can be accepted" in told[0].getMessage()
    assert told[0].exc_info is None
    assert faults == 1


def fill_gaps(held: ExitStack) -> int:
    """Take every free descriptor below the highest one in use; return the highest one then."""
    highest = max(int(each.name) for each in Path("/dev/fd").iterdir())
    while (taken := os.open(os.devnull, os.O_RDONLY)) < highest:
        held.callback(os.close, taken)
    held.callback(os.close, taken)
    return taken
