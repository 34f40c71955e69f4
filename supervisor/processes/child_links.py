"""The supervisor's ends of the channels and pipes to one nursery and to one worker."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable

from ipc.channel import Channel
from ipc.errors import IpcError
from ipc.framing import Decoder
from ipc.messages import (
    FromKeeper,
    FromNursery,
    FromWorker,
    Heartbeat,
    KeeperBeat,
    Message,
    Ready,
    Settings,
    ToWorker,
)
from supervisor.processes.dump_collector import DumpCollector

#: Variables of a service manager that are about this process and not meant for its children.
NOT_INHERITED = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
)

#: Bytes read from a pipe at once.
CHUNK = 1 << 16

#: Calls of `catch_up` in which a worker was sent nothing and sent nothing but heartbeats, after
#: which it is calm. As a rule, longer than it takes to answer a message.
CALM_AFTER = 8


def clean_environment() -> dict[str, str]:
    """Our environment without the variables that only concern this process."""
    return {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}


class NurseryLink:
    """A nursery that was exec'd, and its channel. Its exit is seen elsewhere, by its pid."""

    def __init__(
        self,
        settings: Settings,
        lifeline: int | None,
        on_message: Callable[[FromNursery, list[int]], None],
        on_dump: Callable[[str], None],
        on_closed: Callable[[Exception | None], None],
    ) -> None:
        """Start it and send its settings; `on_dump` is called with each stack that it writes.

        Raises:
            OSError: the system has no room for another process, socket or descriptor.
        """
        ours, theirs = socket.socketpair()
        dump = -1
        try:
            with theirs:
                dump, write = os.pipe()
                try:
                    self._process = _execute(theirs.fileno(), write, lifeline)
                finally:
                    os.close(write)
        except OSError:
            ours.close()
            _close_pipe(dump)
            raise
        os.set_blocking(dump, False)
        self._dump = dump
        self._dumps = DumpCollector(on_dump)
        asyncio.get_running_loop().add_reader(dump, self._dump_readable)
        self._channel = Channel[FromNursery](
            ours,
            FromNursery,
            on_message,
            on_closed,
        )
        self._channel.send(settings)

    @property
    def pid(self) -> int:
        """The pid of the process that was started."""
        return self._process.pid

    def send(self, message: Message, fds: tuple[int, ...] = ()) -> bool:
        """Send a frame; the descriptors are closed here once sent, or if they cannot be."""
        return self._channel.send(message, fds)

    def exited(self) -> None:
        """Note that the reaper has its status: subprocess must not look for it, nor warn."""
        self._process.returncode = 0

    def close(self) -> None:
        """Close the channel and the pipe. Idempotent."""
        self._channel.close()
        self._dump = _close_pipe(self._dump)
        self._dumps.flush()

    def _dump_readable(self) -> None:
        data = _read(self._dump)
        if data:
            self._dumps.add(data.decode(errors="replace"))
        elif data is not None:
            self._dump = _close_pipe(self._dump)


def _execute(channel: int, dump: int, lifeline: int | None) -> subprocess.Popen[bytes]:
    inherited = (channel, dump) if lifeline is None else (channel, dump, lifeline)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "supervisor.nursery.program", str(channel), str(dump)],
        stdin=subprocess.DEVNULL,
        pass_fds=inherited,
        env=clean_environment(),
        start_new_session=True,
    )


class WorkerLink:
    """A worker's channel, its keeper's pipe and its dump pipe: our ends of them.

    Beats do not wake this process: with 64 workers that alone would cost 5% of a CPU. The keeper's
    pipe is read by `catch_up` only, and so is the channel of a worker that is calm: ready, sent
    nothing for a while, and sending nothing but heartbeats.

    Arguments:
        on_message: each frame from the worker's loop.
        on_beat: each beat of its keeper thread.
        on_dump: each piece of a stack dump, as it comes.
        on_closed: the channel ended; called once, after the last message.
    """

    def __init__(
        self,
        on_message: Callable[[FromWorker], None],
        on_beat: Callable[[KeeperBeat], None],
        on_dump: Callable[[str], None],
        on_closed: Callable[[Exception | None], None],
    ) -> None:
        self._on_closed = on_closed
        ours, theirs = socket.socketpair()
        #: For the worker; they go to the nursery with Spawn, whose channel closes them here.
        self.for_worker: tuple[int, ...] = (theirs.detach(),)
        self.channel_ended = False
        self._on_message = on_message
        self._channel = Channel[FromWorker](ours, FromWorker, self._received, self._ended)
        self._was_ready = self._is_calm = False
        self._calm_for = 0
        self._beats = Decoder(FromKeeper)
        self._on_beat, self._on_dump = on_beat, on_dump
        self._keeper = self._add_pipe()
        self._dump = self._add_pipe()
        asyncio.get_running_loop().add_reader(self._dump, self._dump_readable)

    def send(self, message: ToWorker) -> None:
        """Send a frame; nothing happens if the worker is gone."""
        self._channel.send(message)
        self.listen()

    def listen(self) -> None:
        """Read its messages at once until it is calm again: something is expected of it."""
        self._calm_for = 0
        if self._is_calm:
            self._is_calm = False
            self._channel.listen()

    def catch_up(self) -> None:
        """Read the messages that may wait for a regular tick."""
        if self._keeper >= 0:
            self._keeper_readable()
        if self._is_calm:
            self._channel.read()
        elif self._was_ready:
            self._calm_for += 1
            if self._calm_for > CALM_AFTER:
                self._is_calm = True
                self._channel.rest()

    def close(self) -> None:
        """Close all of our ends. Idempotent."""
        self._channel.close()
        self._keeper = _close_pipe(self._keeper)
        self._dump = _close_pipe(self._dump)

    def read_rest(self) -> None:
        """Read the rest of a dead worker's pipes."""
        if self._keeper >= 0:
            self._keeper_readable()
        if self._dump >= 0:
            self._dump_readable()

    def _received(self, message: FromWorker, _fds: list[int]) -> None:
        if not isinstance(message, Heartbeat):
            self._was_ready = self._was_ready or isinstance(message, Ready)
            self.listen()
        self._on_message(message)

    def _ended(self, fault: Exception | None) -> None:
        self.channel_ended = True
        self._on_closed(fault)

    def _add_pipe(self) -> int:
        read, write = os.pipe()
        self.for_worker += (write,)
        os.set_blocking(read, False)
        # The keeper must never wait for us: a full pipe costs a beat. The flag belongs to the
        # open file, so it goes to the worker with the descriptor.
        os.set_blocking(write, False)
        return read

    def _keeper_readable(self) -> None:
        data = _read(self._keeper)
        if data is None:
            return
        try:
            beats = self._beats.feed(data)
        except IpcError:
            data = b""  # nothing more can be read of this pipe; the loop's own channel goes on
            beats = []
        for beat in beats:
            self._on_beat(beat)
        if not data:
            self._keeper = _close_pipe(self._keeper)

    def _dump_readable(self) -> None:
        data = _read(self._dump)
        if data is None:
            return
        if data:
            self._on_dump(data.decode(errors="replace"))
        else:
            self._dump = _close_pipe(self._dump)


def _read(pipe: int) -> bytes | None:
    """Read a pipe: b"" at its end, None if it holds nothing now."""
    try:
        return os.read(pipe, CHUNK)
    except BlockingIOError:
        return None


def _close_pipe(pipe: int) -> int:
    if pipe >= 0:
        asyncio.get_running_loop().remove_reader(pipe)
        os.close(pipe)
    return -1
