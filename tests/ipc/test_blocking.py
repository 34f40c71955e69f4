"""The channel of a process without a loop."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipc.blocking import BlockingChannel
from ipc.descriptors import send
from ipc.errors import DescriptorError, MalformedFrame
from ipc.framing import encode
from ipc.messages import Kill, LoadFailed, Retire, Spawn, Spawned, ToNursery

Ends = tuple[socket.socket, BlockingChannel[ToNursery]]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    channel: BlockingChannel[ToNursery] = BlockingChannel(theirs, ToNursery)
    yield ours, channel
    channel.close()
    ours.close()


@pytest.fixture
def supervisor(ends: Ends) -> socket.socket:
    """The other end of `nursery`, bare."""
    return ends[0]


@pytest.fixture
def nursery(ends: Ends) -> BlockingChannel[ToNursery]:
    return ends[1]


def test_nothing_within_the_timeout_is_an_empty_list(nursery: BlockingChannel[ToNursery]) -> None:
    assert nursery.receive(0) == []
    assert nursery.receive(0.001) == []


def test_messages_come_with_their_descriptors(
    supervisor: socket.socket, nursery: BlockingChannel[ToNursery]
) -> None:
    with Path(os.devnull).open() as devnull:
        send(supervisor, encode(Spawn(1, "h#1")) + encode(Retire()), [devnull.fileno()] * 3)

    [(spawn, fds), (retire, none)] = nursery.receive() or []

    assert (spawn, retire, none) == (Spawn(1, "h#1"), Retire(), [])
    assert len(set(fds)) == 3
    for fd in fds:
        assert not os.get_inheritable(fd)
        os.close(fd)


def test_a_part_of_a_frame_is_an_empty_list_until_the_rest_comes(
    supervisor: socket.socket, nursery: BlockingChannel[ToNursery]
) -> None:
    frame = encode(Kill(7))

    supervisor.sendall(frame[:5])
    assert nursery.receive() == []

    supervisor.sendall(frame[5:])
    assert nursery.receive() == [(Kill(7), [])]


def test_the_end_of_the_stream_is_none_every_time(
    supervisor: socket.socket, nursery: BlockingChannel[ToNursery]
) -> None:
    supervisor.close()

    assert nursery.receive() is None
    assert nursery.receive() is None


def test_a_peer_that_died_with_our_message_unread_is_the_end_of_the_stream(
    supervisor: socket.socket, nursery: BlockingChannel[ToNursery]
) -> None:
    nursery.send(LoadFailed(1, "no"))
    supervisor.close()

    assert nursery.receive() is None


def test_a_bad_frame_is_raised_after_the_good_ones_before_it(
    supervisor: socket.socket, nursery: BlockingChannel[ToNursery]
) -> None:
    supervisor.sendall(encode(Retire()) + b"\x00\x00\x00\x01\xc1")

    assert nursery.receive() == [(Retire(), [])]
    with pytest.raises(MalformedFrame):
        nursery.receive()
    with pytest.raises(MalformedFrame):
        nursery.receive()


def test_a_bad_frame_alone_is_raised_at_once(
    supervisor: socket.socket, nursery: BlockingChannel[ToNursery]
) -> None:
    supervisor.sendall(b"\xff\xff\xff\xff")

    with pytest.raises(Exception, match="over the limit"):
        nursery.receive()


def test_a_spawn_without_its_descriptors_is_refused_after_the_good_ones_before_it(
    supervisor: socket.socket, nursery: BlockingChannel[ToNursery]
) -> None:
    supervisor.sendall(encode(Retire()) + encode(Spawn(1, "h#1")) + encode(Retire()))

    assert nursery.receive() == [(Retire(), [])]
    with pytest.raises(DescriptorError, match="came with 0"):
        nursery.receive()


def test_a_send_larger_than_the_pipe_waits_for_room_and_hands_its_descriptors_over(
    supervisor: socket.socket, nursery: BlockingChannel[ToNursery]
) -> None:
    message = LoadFailed(1, "x" * 900_000)
    expected = len(encode(message))
    sender = threading.Thread(target=nursery.send, args=(message,))

    sender.start()
    received = 0
    while received < expected:
        received += len(supervisor.recv(1 << 16))
    sender.join()

    assert received == expected


def test_a_sent_descriptor_is_closed_here(
    supervisor: socket.socket, nursery: BlockingChannel[ToNursery]
) -> None:
    read, write = os.pipe()

    nursery.send(Spawned(1, 10), [write])

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(write)
    supervisor.recvmsg(100, socket.CMSG_SPACE(4), socket.MSG_DONTWAIT)
    os.close(read)


def test_a_send_to_nobody_raises_and_still_closes_the_descriptor(
    supervisor: socket.socket, nursery: BlockingChannel[ToNursery]
) -> None:
    read, write = os.pipe()
    supervisor.close()

    with pytest.raises(BrokenPipeError):
        nursery.send(Spawned(1, 10), [write])

    assert os.read(read, 1) == b""
    os.close(read)
