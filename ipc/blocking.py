"""A channel for a process without an event loop: the nursery, which only forks.

Nothing here keeps state that a fork would share: no loop, no thread, no long-lived poller.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Sequence
from types import UnionType
from typing import Generic, TypeVar, cast

from ipc import descriptors
from ipc.channel import CHUNK
from ipc.errors import FrameError, IpcError
from ipc.framing import Decoder, encode
from ipc.messages import Message, descriptors_of

T = TypeVar("T")


class BlockingChannel(Generic[T]):
    """One end of a channel; owns `sock` (connected AF_UNIX SOCK_STREAM) and makes it blocking."""

    def __init__(self, sock: socket.socket, receives: type[T] | UnionType) -> None:
        sock.setblocking(True)
        self._sock = sock
        self._decoder: Decoder[T] = Decoder(receives)
        self._inbox = descriptors.DescriptorQueue(sock)
        self._fault: IpcError | None = None

    def fileno(self) -> int:
        """Return the socket's descriptor: when it is readable, `receive` does not wait."""
        return self._sock.fileno()

    def receive(self, timeout_seconds: float | None = None) -> list[tuple[T, list[int]]] | None:
        """Receive messages, each with its descriptors, which the caller closes.

        Waits for at least one byte, up to the timeout (None: for ever). The list is empty at the
        timeout, and when only part of a frame has arrived; None is the end of the stream.
        Raises IpcError for a fault of the peer, once the valid messages before it are returned.
        """
        if self._fault is not None:
            raise self._fault
        if not self._readable(timeout_seconds):
            return []
        try:
            data = self._inbox.receive(CHUNK)
        except ConnectionResetError:
            return None
        return self._messages(data) if data else None

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send a whole message, waiting for room, and close its descriptors.

        Raises OSError (BrokenPipeError, most likely) when the peer is gone, FrameTooLarge for a
        message over the limit.
        """
        try:
            frame = memoryview(encode(message))
            sent = descriptors.send(self._sock, frame, fds)
            if sent < len(frame):
                # Only if something is left: an empty sendall still makes a system call, and fails
                # if the peer has read the whole message and exited.
                self._sock.sendall(frame[sent:])
        finally:
            descriptors.close_all(fds)

    def close(self) -> None:
        """Close the channel and the descriptors that nobody took. Idempotent."""
        self._inbox.close()
        self._sock.close()

    def _readable(self, timeout_seconds: float | None) -> bool:
        poller = select.poll()
        poller.register(self._sock, select.POLLIN)
        return bool(poller.poll(None if timeout_seconds is None else timeout_seconds * 1000))

    def _messages(self, data: bytes) -> list[tuple[T, list[int]]]:
        try:
            messages: Sequence[T] = self._decoder.feed(data)
        except FrameError as error:
            self._fault = error
            messages = cast(Sequence[T], error.decoded)
        received: list[tuple[T, list[int]]] = []
        for message in messages:
            try:
                received.append((message, self._inbox.take(descriptors_of(message))))
            except IpcError as error:
                self._fault = error
                break
        if not received and self._fault is not None:
            raise self._fault
        return received
