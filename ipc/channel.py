"""A channel: frames and descriptors over a connected Unix stream socket, on the event loop.

Only the loop's thread touches it. A fault of the peer (bad frames, missing descriptors, a reader
that stopped) closes the channel and is told to `on_closed`; it never escapes from a callback.
The form for a process without a loop is ipc.blocking.BlockingChannel.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
from types import UnionType
from typing import Final, Generic, TypeVar, cast

from ipc import descriptors
from ipc.errors import ChannelOverflow, FrameError, FrameTooLarge, IpcError
from ipc.framing import Decoder, encode
from ipc.messages import MAX_FRAME, Message, descriptors_of

T = TypeVar("T")

#: Bytes read at once.
CHUNK: Final = 1 << 16

#: Bytes that may wait for the peer. Commands and reports are small and few; this much is left
#: unread only by a peer that will not read again.
MAX_UNSENT: Final = 16 * MAX_FRAME


class _Outgoing:
    """A frame on its way: what is left of it, and the descriptors to go with its first byte."""

    __slots__ = ("descriptors", "left")

    def __init__(self, frame: bytes, fds: Sequence[int]) -> None:
        self.left = memoryview(frame)
        self.descriptors: Sequence[int] = fds


class Channel(Generic[T]):
    """One end of a channel.

    sock: connected AF_UNIX SOCK_STREAM; the channel makes it non-blocking and owns it.
    receives: the union of messages that the peer may send.
    on_message: called with each message and the descriptors that came with it, which are then the
        callee's to close.
    on_closed: called once, on the loop, after the last message: with None at the end of the
        stream, or with what was wrong (IpcError, OSError, or whatever on_message raised). Not
        called after `close()`.

    Must be made on the running loop; it reads from then on.
    """

    def __init__(
        self,
        sock: socket.socket,
        receives: type[T] | UnionType,
        on_message: Callable[[T, list[int]], None],
        on_closed: Callable[[Exception | None], None],
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._decoder: Decoder[T] = Decoder(receives)
        self._inbox = descriptors.DescriptorQueue(sock)
        self._on_message = on_message
        self._on_closed = on_closed
        self._outgoing: deque[_Outgoing] = deque()
        self._unsent = 0
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()
        self._closed = False
        self._deaf = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._readable)

    @property
    def closed(self) -> bool:
        return self._closed

    def send(self, message: Message, fds: Sequence[int] = ()) -> bool:
        """Send a message, now or when the peer has room; False if nobody reads any more.

        The channel takes the descriptors over and closes them once sent (or never to be sent).
        Raises FrameTooLarge for a message over the limit.
        """
        if self._closed or self._deaf:
            descriptors.close_all(fds)
            return False
        try:
            frame = encode(message)
        except FrameTooLarge:
            descriptors.close_all(fds)
            raise
        self._outgoing.append(_Outgoing(frame, fds))
        self._unsent += len(frame)
        if len(self._outgoing) == 1:
            self._write()
        elif self._unsent > MAX_UNSENT:
            self._fail(ChannelOverflow(f"the peer left {self._unsent} bytes unread"))
        return not (self._closed or self._deaf)

    def send_droppable(self, message: Message) -> bool:
        """Send a message only if its first byte goes now; False if it was dropped.

        For heartbeats: behind a full pipe they would only grow old.
        """
        if self._closed or self._deaf or self._outgoing:
            return False
        frame = encode(message)
        try:
            sent = self._sock.send(frame)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._write_failed(error)
            return False
        if sent < len(frame):
            rest = _Outgoing(frame[sent:], ())
            self._outgoing.append(rest)
            self._unsent += len(rest.left)
            self._wait_for_room()
        return True

    async def flushed(self) -> None:
        """Return when nothing waits to be sent: the kernel has it, or nobody reads any more."""
        await self._idle.wait()

    def close(self) -> None:
        """Close it, with what was not sent and not taken. Idempotent; on_closed is not called."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._drop_outgoing()
        self._inbox.close()
        self._sock.close()

    # -- reading

    def rest(self) -> None:
        """Read only when `read` is called: for a peer of whom nothing is expected.

        What it sends waits in the kernel, the end of the stream too. To be woken for each frame
        costs more than to take it in: many peers that rest are read in one go.
        """
        if not self._closed:
            self._loop.remove_reader(self._sock)

    def listen(self) -> None:
        """Read whatever comes as soon as it does, as from the start."""
        if not self._closed:
            self._loop.add_reader(self._sock, self._readable)

    def read(self) -> None:
        """Take in what has come."""
        if not self._closed:
            self._readable()

    def _readable(self) -> None:
        # One chunk a turn: a peer that never stops talking must not keep the loop from the others.
        try:
            data = self._inbox.receive(CHUNK)
            if not data:
                self._fail(self._end())
                return
            self._deliver(self._decoder.feed(data))
        except (BlockingIOError, InterruptedError):
            return
        except FrameError as error:
            self._deliver(cast(Sequence[T], error.decoded))
            self._fail(error)
        except (IpcError, OSError) as error:
            self._fail(error)

    def _deliver(self, messages: Sequence[T]) -> None:
        for message in messages:
            if self._closed:
                return
            try:
                self._on_message(message, self._inbox.take(descriptors_of(message)))
            except Exception as error:
                # Not raised on into the loop, which would log it and call again with the next
                # message: the owner decides, once, with the channel closed.
                self._fail(error)

    def _end(self) -> Exception | None:
        if self._decoder.pending:
            return FrameError(
                f"the stream ended {self._decoder.pending} bytes into a frame: the peer died "
                "while it was writing"
            )
        return None

    # -- writing

    def _write(self) -> None:
        try:
            while self._outgoing:
                self._write_some(self._outgoing[0])
        except (BlockingIOError, InterruptedError):
            self._wait_for_room()
        except OSError as error:
            self._write_failed(error)
        else:
            self._loop.remove_writer(self._sock)
            self._idle.set()

    def _write_some(self, frame: _Outgoing) -> None:
        sent = descriptors.send(self._sock, frame.left, frame.descriptors)
        descriptors.close_all(frame.descriptors)
        frame.descriptors = ()
        frame.left = frame.left[sent:]
        self._unsent -= sent
        if not frame.left:
            self._outgoing.popleft()

    def _wait_for_room(self) -> None:
        self._idle.clear()
        self._loop.add_writer(self._sock, self._write)

    def _write_failed(self, error: OSError) -> None:
        """The peer is gone, or this end is unusable.

        What a dead peer said last (Drained, Fault) may still be unread here: only writing ends, and
        the reader comes to the end of the stream by itself.
        """
        if isinstance(error, BrokenPipeError | ConnectionResetError):
            self._deaf = True
            self._loop.remove_writer(self._sock)
            self._drop_outgoing()
        else:
            self._fail(error)

    def _drop_outgoing(self) -> None:
        for frame in self._outgoing:
            descriptors.close_all(frame.descriptors)
        self._outgoing.clear()
        self._unsent = 0
        self._idle.set()

    def _fail(self, error: Exception | None) -> None:
        """Close, and tell the owner on a turn of its own: it may be in the middle of a send."""
        if not self._closed:
            self.close()
            self._loop.call_soon(self._on_closed, error)
