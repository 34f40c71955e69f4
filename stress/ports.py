"""TCP ports of the loopback for servers that have to be told one.

A port that the kernel picked and that was given back is anybody's: of the next socket that asks
for any port, and of the next connection to whatever server. These are of a range that the kernel
picks none from, and each process has a block of it for itself: the tests of several processes
once met in one port, and each watched the pool of the other.
"""

import os
import re
import socket
import sys
from functools import cache
from pathlib import Path
from typing import Final

_BLOCK_PORTS: Final = 128
_FIRST_PORT: Final = 12_000


class PortBlock:
    """The ports of one process, handed out in turn."""

    def __init__(self) -> None:
        self._handed_out = 0
        for first in range(_FIRST_PORT, _first_ephemeral() - _BLOCK_PORTS, _BLOCK_PORTS):
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                claim.bind(f"\0docket-ports-{first}")
            except OSError:
                claim.close()
                continue
            # An address without a file, held by the descriptor: free when this process has ended.
            claim.detach()
            self._first = first
            return
        raise RuntimeError("no block of ports is left: too many processes have one")

    def next(self) -> int:
        """The next port that nobody listens at."""
        for _ in range(_BLOCK_PORTS):
            port = self._first + self._handed_out % _BLOCK_PORTS
            self._handed_out += 1
            if _is_free(port):
                return port
        raise RuntimeError(f"all {_BLOCK_PORTS} ports from {self._first} on are in use")


def free_port() -> int:
    """A port that nobody listens at, and that no other process of ours is given."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many of them, at most 128."""
    if sys.platform != "linux":
        return _of_the_kernel(count)
    block = _block_of(os.getpid())
    return [block.next() for _ in range(count)]


@cache
def _block_of(_pid: int) -> PortBlock:
    """Make the block of this process: a fork has none of its parent's ports."""
    return PortBlock()


def _of_the_kernel(count: int) -> list[int]:
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in listening]
    for each in listening:
        each.close()
    return ports


def _first_ephemeral() -> int:
    told = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    return int(re.findall(r"\d+", told)[0])


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
