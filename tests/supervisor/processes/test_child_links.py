"""The supervisor's ends of a worker's channel and pipes, with the worker's ends in our hands."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ipc.framing import encode
from ipc.messages import (
    PROTOCOL,
    Backlog,
    Drain,
    Drained,
    FromWorker,
    Heartbeat,
    KeeperBeat,
    Message,
    Ready,
    Settings,
    Waiting,
    WorkerCounters,
    WorkerSettings,
)
from supervisor.processes import child_links
from supervisor.processes.child_links import (
    THROTTLED_AFTER,
    NurseryLink,
    WorkerLink,
    clean_environment,
)

pytestmark = pytest.mark.anyio


class Both:
    """A link and the other side of it."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[object] = asyncio.Queue()
        self.link = WorkerLink(
            self.note, self.received.put_nowait, self.received.put_nowait, self.note
        )
        channel, self.keeper, self.dump = self.link.for_worker
        self.channel = socket.socket(fileno=channel)

    def note(self, message: FromWorker | Exception | None) -> None:
        self.received.put_nowait(message)

    async def next(self) -> object:
        async with asyncio.timeout(10):
            return await self.received.get()

    def close(self) -> None:
        self.channel.close()
        for fd in (self.keeper, self.dump):
            if fd >= 0:
                os.close(fd)
        self.keeper = self.dump = -1


@asynccontextmanager
async def both() -> AsyncGenerator[Both]:
    made = Both()
    try:
        yield made
    finally:
        made.close()
        made.link.close()
        made.link.close()


async def test_frames_beats_and_dumps_arrive() -> None:
    async with both() as made:
        made.channel.sendall(encode(Drained()))
        assert await made.next() == Drained()
        os.write(made.keeper, encode(KeeperBeat(1, 0.5, "order-1")))
        made.link.catch_up()
        assert await made.next() == KeeperBeat(1, 0.5, "order-1")
        os.write(made.dump, b"Thread 0x1:\n")
        assert await made.next() == "Thread 0x1:\n"
        made.link.send(Drain(1.0))
        assert made.channel.recv(100) == encode(Drain(1.0))


async def test_the_end_of_the_channel_is_reported_once() -> None:
    async with both() as made:
        assert not made.link.channel_ended
        made.close()
        assert await made.next() is None
        assert made.link.channel_ended
        made.link.send(Drain(1.0))
        made.link.close()


HEARTBEAT = Heartbeat(1, 0.0, [], 0, WorkerCounters(), 1)
READY = Ready("host#1.1", "host#1", 1)


async def throttled_after(made: Both, *messages: Message) -> None:
    """Send these, then nothing for as long as it takes to be throttled."""
    for message in messages:
        made.channel.sendall(encode(message))
        assert await made.next() == message
    for _ in range(THROTTLED_AFTER + 1):
        made.link.catch_up()


async def is_read_at_once(made: Both, message: Message) -> bool:
    """Whether the loop reads what comes by itself."""
    made.channel.sendall(encode(message))
    # A turn that polls, a turn that runs what was readable, and one more.
    for _ in range(3):
        await asyncio.sleep(0)
    return not made.received.empty()


async def test_a_throttled_worker_is_read_when_there_is_time_for_it() -> None:
    async with both() as made:
        await throttled_after(made, READY, HEARTBEAT)
        assert not await is_read_at_once(made, HEARTBEAT)
        made.link.catch_up()
        assert await made.next() == HEARTBEAT
        assert not await is_read_at_once(made, HEARTBEAT)


async def test_a_steward_that_tells_the_backlog_stays_throttled() -> None:
    async with both() as made:
        await throttled_after(made, READY, HEARTBEAT)
        assert not await is_read_at_once(made, Backlog(queued=1))
        made.link.catch_up()
        assert await made.next() == Backlog(queued=1)
        assert not await is_read_at_once(made, HEARTBEAT)


async def test_a_worker_that_is_not_ready_is_read_at_once() -> None:
    async with both() as made:
        await throttled_after(made, Waiting("the server is away"), HEARTBEAT)
        assert await is_read_at_once(made, READY)


async def test_a_worker_that_was_sent_something_is_read_at_once_again() -> None:
    async with both() as made:
        await throttled_after(made, READY)
        made.link.send(Drain(1.0))
        assert await is_read_at_once(made, Drained())


async def test_a_throttled_worker_that_sends_more_than_heartbeats_is_read_at_once_again() -> None:
    async with both() as made:
        await throttled_after(made, READY)
        assert not await is_read_at_once(made, Waiting("the server is away"))
        made.link.catch_up()
        assert await made.next() == Waiting("the server is away")
        assert await is_read_at_once(made, READY)


async def test_the_end_of_a_throttled_worker_is_seen_when_it_is_listened_for() -> None:
    async with both() as made:
        await throttled_after(made, READY)
        made.channel.sendall(encode(HEARTBEAT))
        made.close()
        made.link.listen()
        assert await made.next() == HEARTBEAT
        assert await made.next() is None
        made.link.catch_up()
        assert made.link.channel_ended


async def test_what_a_dead_workers_pipes_still_hold_is_read() -> None:
    async with both() as made:
        os.write(made.dump, b"last output")
        os.write(made.keeper, encode(KeeperBeat(7, 0.0)))
        made.link.close()
        assert {str(await made.next()) for _ in range(2)} == {
            "last output",
            str(KeeperBeat(7, 0.0)),
        }


async def test_a_keeper_pipe_that_is_not_ours_is_given_up_and_nothing_else() -> None:
    async with both() as made:
        os.write(made.keeper, b"\xff" * 100)
        made.link.catch_up()
        with pytest.raises(BrokenPipeError):
            os.write(made.keeper, b"more")
        made.channel.sendall(encode(Drained()))
        assert await made.next() == Drained()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_nursery_that_cannot_be_executed_leaves_no_descriptor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(child_links.sys, "executable", "/nowhere/python")
    before = open_descriptors()
    worker = WorkerSettings("d", "u", "u", logging_format="json")
    settings = Settings(PROTOCOL, 1, [], preload=True, cwd="/", worker=worker)
    with pytest.raises(FileNotFoundError):
        NurseryLink(settings, None, print, print, print)
    assert open_descriptors() == before


def test_what_only_concerns_us_is_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "KEPT"):
        monkeypatch.setenv(name, "x")
    environment = clean_environment()
    assert environment["KEPT"] == "x"
    assert not any(name.startswith(("NOTIFY", "WATCHDOG", "LISTEN")) for name in environment)


async def test_a_worker_that_cannot_be_connected_leaves_no_descriptor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, made = os.pipe, 0

    def one_pipe() -> tuple[int, int]:
        nonlocal made
        made += 1
        if made > 1:
            raise OSError("too many open files")
        return real()

    monkeypatch.setattr(child_links.os, "pipe", one_pipe)
    before = open_descriptors()
    with pytest.raises(OSError, match="too many"):
        WorkerLink(print, print, print, print)
    assert open_descriptors() == before
