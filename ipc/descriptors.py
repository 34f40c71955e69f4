"""File descriptors sent over a channel beside its bytes (SCM_RIGHTS).

The kernel delivers a descriptor no later than the first byte of the send it came with, but a plain
frame before it may arrive in the same read. So received descriptors are queued, and each message
that carries some takes its own from the head of the queue.
"""

from __future__ import annotations

import array
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import Final

from ipc.errors import DescriptorError

#: Maximum descriptors accepted in one read. The kernel allows 253 a send; we send at most 3.
PER_READ: Final = 16

#: Maximum descriptors queued unclaimed: a peer that sends more is filling our descriptor table.
MAX_QUEUED: Final = 64

_INT = array.array("i").itemsize
_ROOM = socket.CMSG_SPACE(PER_READ * _INT)

# On Linux they are close-on-exec from the start. Elsewhere there is a gap between the read and
# set_inheritable, which is harmless: none of our processes has a thread that execs.
_READ_FLAGS = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class DescriptorQueue:
    """A reader of a Unix socket that owns the received descriptors until they are taken."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._queue: deque[int] = deque()

    def receive(self, size: int) -> bytes:
        """Read up to `size` bytes; b"" is the end of the stream.

        Raises BlockingIOError and other OSErrors as `recv` does, and DescriptorError when
        descriptors were cut off (MSG_CTRUNC: too many at once, or our own table is full) or too
        many are queued.
        """
        data, ancillary, flags, _ = self._sock.recvmsg(size, _ROOM, _READ_FLAGS)
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._queue.extend(_non_inheritable(payload))
        if flags & socket.MSG_CTRUNC:
            raise DescriptorError(
                "descriptors sent over the channel were cut off: more than "
                f"{PER_READ} at once, or this process has no free descriptor (ulimit -n)"
            )
        if len(self._queue) > MAX_QUEUED:
            raise DescriptorError(
                f"{len(self._queue)} descriptors came without a message that takes them"
            )
        return data

    def take(self, count: int) -> list[int]:
        """Take the next `count` descriptors; the caller closes them.

        Raises DescriptorError when the peer has sent fewer.
        """
        if count > len(self._queue):
            raise DescriptorError(
                f"a message that needs {count} descriptors came with {len(self._queue)}"
            )
        return [self._queue.popleft() for _ in range(count)]

    def close(self) -> None:
        """Close the descriptors that nobody took. Idempotent."""
        close_all(self._queue)
        self._queue.clear()


def send(sock: socket.socket, data: bytes | memoryview, descriptors: Sequence[int]) -> int:
    """Send `data` and return the number of bytes sent; all `descriptors` go with the first byte."""
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
