"""Channels over real socket pairs."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ipc import channel as channel_module
from ipc.channel import Channel
from ipc.descriptors import MAX_QUEUED, PER_READ, send
from ipc.errors import ChannelOverflow, DescriptorError, FrameError, FrameTooLarge, MalformedFrame
from ipc.framing import encode
from ipc.messages import (
    MAX_FRAME,
    Drained,
    Draining,
    Dump,
    Fault,
    FromNursery,
    FromWorker,
    Hello,
    Retire,
    Spawn,
    Spawned,
    ToNursery,
    ToWorker,
)

pytestmark = pytest.mark.anyio


class Peer:
    """The owner of one channel: what it received, and how the channel ended."""

    def __init__(self, sock: socket.socket, receives: type) -> None:
        self.received: asyncio.Queue[tuple[object, list[int]]] = asyncio.Queue()
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.channel: Channel[object] = Channel(
            sock, receives, lambda *arrival: self.received.put_nowait(arrival), self.closed
        )

    def closed(self, error: Exception | None) -> None:
        self.ended.set_result(error)

    async def messages(self, count: int) -> list[object]:
        return [(await self.received.get())[0] for _ in range(count)]


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@contextmanager
def narrow_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A pair whose pipe holds a few kilobytes: a large frame goes in parts."""
    with pair() as (ours, theirs):
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        yield ours, theirs


@contextmanager
def open_pipe() -> Iterator[tuple[int, int]]:
    """A pipe; its write end is given away by the test."""
    read, write = os.pipe()
    try:
        yield read, write
    finally:
        os.close(read)


def fill(sock: socket.socket, data: bytes) -> int:
    """Send `data` again and again until the pipe is full; the bytes sent."""
    sent = 0
    while True:
        try:
            sent += sock.send(data)
        except BlockingIOError:
            return sent


def at_end(read: int) -> bool:
    """Whether every write end of this pipe is closed."""
    os.set_blocking(read, False)
    try:
        return os.read(read, 1) == b""
    except BlockingIOError:
        return False


async def test_messages_go_both_ways() -> None:
    with pair() as (ours, theirs):
        supervisor, worker = Peer(ours, FromWorker), Peer(theirs, ToWorker)

        assert worker.channel.send(Hello(1, 2))
        assert worker.channel.send(Drained())
        assert supervisor.channel.send(Dump())

        assert await supervisor.messages(2) == [Hello(1, 2), Drained()]
        assert await worker.messages(1) == [Dump()]
        supervisor.channel.close()
        worker.channel.close()


async def test_descriptors_come_with_their_message_and_do_not_pass_on_over_exec() -> None:
    with pair() as (ours, theirs), open_pipe() as (read, write):
        supervisor, nursery = Peer(ours, FromNursery), Peer(theirs, ToNursery)

        nursery.channel.send(Spawned(1, 10), [write])
        message, fds = await supervisor.received.get()

        assert message == Spawned(1, 10)
        [received] = fds
        assert not os.get_inheritable(received)
        os.write(received, b"it is the same pipe")
        assert os.read(read, 100) == b"it is the same pipe"
        os.close(received)
        assert at_end(read), "the sender closes its own"
        supervisor.channel.close()
        nursery.channel.close()


async def test_glued_messages_each_get_their_own_descriptors() -> None:
    with pair() as (ours, theirs), open_pipe() as (read, write):
        other_read, other_write = os.pipe()
        nursery = Peer(theirs, ToNursery)
        fds = [os.dup(write), os.dup(write), os.dup(write)]

        # One write with the descriptors of both Spawns, as a plain frame before it glues on.
        frames = encode(Retire()) + encode(Spawn(1, "h#1")) + encode(Spawn(2, "h#2"))
        send(ours, frames, [*fds, other_write, other_write, other_write])
        arrivals = [await nursery.received.get() for _ in range(3)]

        assert [message for message, _ in arrivals] == [
            Retire(),
            Spawn(1, "h#1"),
            Spawn(2, "h#2"),
        ]
        plain, first, second = (fds for _, fds in arrivals)
        assert plain == []
        os.write(first[0], b"1")
        os.write(second[0], b"2")
        assert (os.read(read, 9), os.read(other_read, 9)) == (b"1", b"2")
        for fd in [*fds, *first, *second, write, other_write, other_read]:
            os.close(fd)
        nursery.channel.close()


async def test_a_message_without_its_descriptors_is_the_peers_fault() -> None:
    with pair() as (ours, theirs):
        nursery = Peer(theirs, ToNursery)

        ours.sendall(encode(Spawn(1, "h#1")))

        with pytest.raises(DescriptorError, match="needs 3 descriptors came with 0"):
            raise await nursery.ended or AssertionError
        assert theirs.fileno() == -1


async def test_descriptors_cut_off_are_a_fault_and_leak_nothing() -> None:
    with pair() as (ours, theirs), open_pipe() as (read, write):
        nursery = Peer(theirs, ToNursery)

        send(ours, encode(Retire()), [write] * (PER_READ + 2))
        os.close(write)

        with pytest.raises(DescriptorError, match="cut off"):
            raise await nursery.ended or AssertionError
        assert at_end(read)


async def test_descriptors_that_no_message_takes_are_a_fault_in_the_end() -> None:
    with pair() as (ours, theirs), open_pipe() as (read, write):
        worker = Peer(theirs, ToWorker)

        for _ in range(MAX_QUEUED // PER_READ + 1):
            send(ours, encode(Dump()), [write] * PER_READ)
        os.close(write)

        with pytest.raises(DescriptorError, match="without a message that takes them"):
            raise await worker.ended or AssertionError
        assert at_end(read)


async def test_a_closed_channel_closes_descriptors_it_was_to_send() -> None:
    with pair() as (ours, _), open_pipe() as (read, write):
        nursery = Peer(ours, ToNursery)
        nursery.channel.close()

        assert not nursery.channel.send(Spawned(1, 10), [write])

        assert at_end(read)


async def test_a_message_too_large_is_refused_and_its_descriptors_closed() -> None:
    with pair() as (ours, _), open_pipe() as (read, write):
        supervisor = Peer(ours, FromNursery)

        with pytest.raises(FrameTooLarge):
            supervisor.channel.send(Spawn(1, "x" * MAX_FRAME), [write])

        assert at_end(read)
        assert ours.fileno() != -1
        supervisor.channel.close()


async def test_the_end_of_the_stream_is_told_after_the_last_message() -> None:
    with pair() as (ours, theirs):
        supervisor = Peer(ours, FromWorker)

        theirs.sendall(encode(Drained()))
        theirs.close()

        assert await supervisor.ended is None
        assert supervisor.received.get_nowait()[0] == Drained()


async def test_a_stream_that_ends_within_a_frame_is_told_as_torn() -> None:
    with pair() as (ours, theirs):
        supervisor = Peer(ours, FromWorker)

        theirs.sendall(encode(Drained())[:-1])
        theirs.close()

        with pytest.raises(FrameError, match="bytes into a frame"):
            raise await supervisor.ended or AssertionError


async def test_garbage_closes_the_channel_after_the_good_messages_before_it() -> None:
    with pair() as (ours, theirs):
        supervisor = Peer(ours, FromWorker)

        theirs.sendall(encode(Draining()) + b"\x00\x00\x00\x01\xc1")

        assert isinstance(await supervisor.ended, MalformedFrame)
        assert supervisor.received.get_nowait()[0] == Draining()
        assert ours.fileno() == -1


async def test_what_a_dead_peer_said_last_is_read_although_writing_to_it_fails() -> None:
    with pair() as (ours, theirs):
        supervisor = Peer(ours, FromWorker)
        theirs.sendall(encode(Drained()))
        theirs.close()

        assert not supervisor.channel.send(Dump())
        assert not supervisor.channel.send(Dump())
        assert not supervisor.channel.send_droppable(Dump())
        await supervisor.channel.flushed()

        assert await supervisor.ended is None
        assert supervisor.received.get_nowait()[0] == Drained()


async def test_a_droppable_send_to_a_dead_peer_is_dropped() -> None:
    with pair() as (ours, theirs):
        supervisor = Peer(ours, FromWorker)
        theirs.close()

        assert not supervisor.channel.send_droppable(Dump())

        assert await supervisor.ended is None


async def test_a_frame_once_begun_is_finished_and_heartbeats_behind_it_are_dropped() -> None:
    with narrow_pair() as (ours, theirs):
        worker = Peer(ours, ToWorker)
        large = Fault("x" * 500_000)

        assert worker.channel.send_droppable(large), "its first byte went"
        assert not worker.channel.send_droppable(Draining())
        assert worker.channel.send(Drained())
        supervisor = Peer(theirs, FromWorker)

        assert await supervisor.messages(2) == [large, Drained()]
        await worker.channel.flushed()
        assert worker.channel.send_droppable(Draining())
        assert await supervisor.messages(1) == [Draining()]
        worker.channel.close()
        supervisor.channel.close()


async def test_a_full_pipe_drops_a_heartbeat_before_its_first_byte() -> None:
    with narrow_pair() as (ours, theirs):
        ours.setblocking(False)
        filling = encode(Draining())
        sent = fill(ours, filling)
        assert sent % len(filling) == 0
        worker = Peer(ours, ToWorker)

        assert not worker.channel.send_droppable(Drained())

        supervisor = Peer(theirs, FromWorker)
        received = await supervisor.messages(sent // len(filling))
        assert set(map(type, received)) == {Draining}
        assert worker.channel.send_droppable(Drained())
        assert await supervisor.messages(1) == [Drained()]
        worker.channel.close()
        supervisor.channel.close()


async def test_a_peer_that_stops_reading_is_given_up_before_memory_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channel_module, "MAX_UNSENT", 10_000)
    with narrow_pair() as (ours, _):
        worker = Peer(ours, ToWorker)

        while worker.channel.send(Fault("x" * 1000)):
            pass

        with pytest.raises(ChannelOverflow, match="unread"):
            raise await worker.ended or AssertionError


async def test_a_peer_that_dies_with_our_frame_half_sent_ends_the_sending() -> None:
    with narrow_pair() as (ours, theirs):
        worker = Peer(ours, ToWorker)
        worker.channel.send(Fault("x" * 500_000))

        theirs.close()

        await worker.channel.flushed()
        assert isinstance(await worker.ended, ConnectionResetError)


async def test_an_error_of_the_owners_callback_closes_the_channel_and_reaches_the_owner() -> None:
    with pair() as (ours, theirs):
        ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

        def broken(message: object, fds: list[int]) -> None:
            raise ZeroDivisionError

        Channel(ours, FromWorker, broken, ended.set_result)
        theirs.sendall(encode(Draining()) + encode(Drained()))

        assert isinstance(await ended, ZeroDivisionError)
        assert ours.fileno() == -1


async def test_no_message_is_delivered_after_the_owner_closed_the_channel() -> None:
    with pair() as (ours, theirs):
        received: list[object] = []
        got_one = asyncio.Event()

        def close_at_once(message: object, fds: list[int]) -> None:
            received.append(message)
            channel.close()
            got_one.set()

        channel: Channel[object] = Channel(ours, FromWorker, close_at_once, received.append)
        theirs.sendall(encode(Draining()) + encode(Drained()))
        await got_one.wait()

        channel.close()
        await channel.flushed()
        assert received == [Draining()]


async def test_a_paused_channel_reads_when_it_is_told_to() -> None:
    with pair() as (ours, theirs):
        peer = Peer(ours, FromWorker)
        peer.channel.pause_reading()
        theirs.sendall(encode(Draining()))
        for _ in range(3):  # the turns in which it would have been polled and read
            await asyncio.sleep(0)
        assert peer.received.empty()

        peer.channel.read()
        assert await peer.messages(1) == [Draining()]
        theirs.sendall(encode(Drained()))
        peer.channel.listen()
        assert await peer.messages(1) == [Drained()]

        peer.channel.close()
        for do in (peer.channel.pause_reading, peer.channel.listen, peer.channel.read):
            do()
        assert ours.fileno() == -1
