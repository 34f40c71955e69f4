"""A fork of a process that is connected."""

import os
import socket
import stat
from pathlib import Path

import pytest

from tests.support.processes import fork
from tests.support.store import Store

pytestmark = pytest.mark.anyio

PING = b"*1\r\n$4\r\nPING\r\n"


def speak(path: str) -> int:
    """Write a call to every socket that is connected to the server; how many there are."""
    spoken = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if not stat.S_ISSOCK(os.fstat(int(entry.name)).st_mode):
                continue
            sock = socket.socket(fileno=os.dup(int(entry.name)))
        except OSError:
            continue  # that of the listing itself
        with sock:
            try:
                if sock.getpeername() == path:
                    spoken += sock.send(PING) > 0
            except OSError:
                continue  # not connected
    return spoken


def spoken_by_a_fork(path: str) -> int:
    pid = fork()
    if pid == 0:
        os._exit(speak(path))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def test_a_fork_speaks_on_no_connection_of_its_parents(store: Store, server: str) -> None:
    await store.transitions.wake_idle()  # connected, and in use
    path = server.removeprefix("unix://")

    assert spoken_by_a_fork(path) == 0
    await store.transitions.wake_idle()
