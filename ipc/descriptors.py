"""File descriptors that arrive beside the bytes of a channel (SCM_RIGHTS).

The kernel hands a descriptor over no later than the first byte of the send it came with, but a
plain frame before it may arrive in the same read. So received descriptors stand in a line, and
each message that takes some takes its own from the front.
"""

from __future__ import annotations

import array
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import Final

from ipc.errors import DescriptorError

#: Descriptors accepted in one read. The kernel sends at most 253 at once, we never over 3.
PER_READ: Final = 16

#: Descriptors that may stand in line unclaimed: a peer that sends more is filling our table.
IN_LINE: Final = 64

_INT = array.array("i").itemsize
_ROOM = socket.CMSG_SPACE(PER_READ * _INT)

# On Linux they are close-on-exec from the start; elsewhere there is a moment between the read and
# set_inheritable, harmless as nothing execs in it (no threads that do, in any of our processes).
_READ_FLAGS = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class DescriptorQueue:
    """Reads bytes and descriptors from a Unix socket, and owns the descriptors until taken."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._line: deque[int] = deque()

    def receive(self, size: int) -> bytes:
        """Up to `size` bytes; b"" at the end of the stream.

        Raises BlockingIOError and other OSErrors as `recv` does, DescriptorError when descriptors
        were cut off (MSG_CTRUNC: too many at once, or our own table is full) or too many wait.
        """
        data, ancillary, flags, _ = self._sock.recvmsg(size, _ROOM, _READ_FLAGS)
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._line.extend(_non_inheritable(payload))
        if flags & socket.MSG_CTRUNC:
            raise DescriptorError(
                "descriptors sent over the channel were cut off: more than "
                f"{PER_READ} at once, or this process has no free descriptor (ulimit -n)"
            )
        if len(self._line) > IN_LINE:
            raise DescriptorError(
                f"{len(self._line)} descriptors came without a message that takes them"
            )
        return data

    def take(self, count: int) -> list[int]:
        """The next `count` descriptors, now the caller's to close.

        Raises DescriptorError when fewer have come: the peer forgot them.
        """
        if count > len(self._line):
            raise DescriptorError(
                f"a message that needs {count} descriptors came with {len(self._line)}"
            )
        return [self._line.popleft() for _ in range(count)]

    def close(self) -> None:
        """Close what nobody took. Idempotent."""
        close_all(self._line)
        self._line.clear()


def send(sock: socket.socket, data: bytes | memoryview, descriptors: Sequence[int]) -> int:
    """How many bytes of `data` went; with at least one byte all `descriptors` went too."""
    if not descriptors:
        return sock.send(data)
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
    return sock.sendmsg([data], [rights])


def close_all(descriptors: Sequence[int] | deque[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _non_inheritable(payload: bytes) -> list[int]:
    descriptors = array.array("i")
    descriptors.frombytes(payload[: len(payload) - len(payload) % _INT])
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return descriptors.tolist()
