"""A channel: frames and descriptors over a connected Unix stream socket, on the event loop.

Used by the loop's thread only. A fault of the peer (bad frames, missing descriptors, a reader that
stopped) closes the channel and is passed to `on_closed`; it never escapes from a callback.
ipc.blocking.BlockingChannel is the variant for a process without a loop.
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

#: Maximum bytes queued for the peer. Commands and reports are small and few; only a peer that will
#: never read again leaves this much unread.
MAX_UNSENT: Final = 16 * MAX_FRAME


class _Outgoing:
    """A frame being sent: the rest of its bytes, and the descriptors to send with the first."""

    __slots__ = ("descriptors", "left")

    def __init__(self, frame: bytes, fds: Sequence[int]) -> None:
        self.left = memoryview(frame)
        self.descriptors: Sequence[int] = fds


class Channel(Generic[T]):
    """One end of a channel.

    sock: connected AF_UNIX SOCK_STREAM; the channel makes it non-blocking and owns it.
    receives: the union of messages that the peer may send.
    on_message: called with each message and the descriptors that came with it, which the callee
        closes.
    on_closed: called once, on the loop, after the last message: with None at the end of the
        stream, or with the error (IpcError, OSError, or whatever on_message raised). Not called
        after `close()`.

    Must be constructed on the running loop; it reads from then on.
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
        self._is_unread = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._readable)

    def send(self, message: Message, fds: Sequence[int] = ()) -> bool:
        """Send a message, now or when the peer has room; False if the peer no longer reads.

        The channel takes over the descriptors and closes them once sent or dropped.
        Raises FrameTooLarge for a message over the limit.
        """
        if self._closed or self._is_unread:
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
        return not (self._closed or self._is_unread)

    def send_droppable(self, message: Message) -> bool:
        """Send a message only if its first byte can be written now; False if it was dropped.

        For heartbeats, which would be out of date by the time a full pipe is read.
        """
        if self._closed or self._is_unread or self._outgoing:
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
        """Wait until nothing is left to send: the kernel has it, or the peer no longer reads."""
        await self._idle.wait()

    def close(self) -> None:
        """Close the channel and discard anything unsent or untaken. Idempotent.

        `on_closed` is not called.
        """
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._drop_outgoing()
        self._inbox.close()
        self._sock.close()

    # -- reading

    def pause_reading(self) -> None:
        """Stop reading except when `read` is called: for a peer that sends nothing urgent.

        Anything it sends, the end of the stream included, waits in the kernel. Waking the loop for
        each frame costs more than handling it, so paused peers are read together.
        """
        if not self._closed:
            self._loop.remove_reader(self._sock)

    def listen(self) -> None:
        """Resume reading as data arrives, as a new channel does."""
        if not self._closed:
            self._loop.add_reader(self._sock, self._readable)

    def read(self) -> None:
        """Read the data that has arrived."""
        if not self._closed:
            self._readable()

    def _readable(self) -> None:
        # One chunk a turn: a peer that never stops sending must not starve the others.
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
                # Not raised into the loop, which would only log it and go on with the next message:
                # the channel is closed and its owner decides.
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
        """Handle a failed write: the peer is gone, or this end is unusable.

        The last messages of a dead peer (Drained, Fault) may still be unread, so only writing ends:
        reading goes on to the end of the stream.
        """
        if isinstance(error, BrokenPipeError | ConnectionResetError):
            self._is_unread = True
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
        """Close, and tell the owner in a later turn of the loop: it may be in a send now."""
        if not self._closed:
            self.close()
            self._loop.call_soon(self._on_closed, error)
