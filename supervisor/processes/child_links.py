"""The supervisor's ends of the channels and pipes to one nursery and to one worker."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable

from ipc import messages
from ipc.channel import Channel
from ipc.errors import IpcError
from ipc.framing import Decoder
from supervisor.logs import log_setup
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

#: Calls of `catch_up` in which a worker was sent nothing and sent nothing but what can wait, after
#: which its channel is throttled. As a rule, longer than it takes to answer a message.
THROTTLED_AFTER = 8


def clean_environment() -> dict[str, str]:
    """Our environment without the variables that only concern this process."""
    return {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}


class _Pipe:
    """A pipe that the supervisor reads, without waiting; closed at its end.

    Arguments:
        on_data: called with each chunk.
    """

    def __init__(self, on_data: Callable[[bytes], object]) -> None:
        self._on_data = on_data
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)

    def listen(self) -> None:
        """Read it whenever there is something."""
        asyncio.get_running_loop().add_reader(self._read_end, self.read)

    def read(self) -> None:
        """Read once; nothing happens if it holds nothing, or is closed."""
        if self._read_end < 0:
            return
        try:
            data = os.read(self._read_end, CHUNK)
        except BlockingIOError:
            return
        if data:
            self._on_data(data)
        else:
            self.close()

    def close(self) -> None:
        """Close the read end. Idempotent."""
        if self._read_end >= 0:
            asyncio.get_running_loop().remove_reader(self._read_end)
            os.close(self._read_end)
        self._read_end = -1


def _dump_pipe(on_dump: Callable[[str], None]) -> tuple[_Pipe, DumpCollector]:
    dumps = DumpCollector(on_dump)
    pipe = _Pipe(lambda data: dumps.add(data.decode(errors="replace")))
    pipe.listen()
    return pipe, dumps


class _RawOutput:
    """What a nursery and its descendants write to their stderr past their logs.

    C code, subprocesses and the interpreter itself do; in a stream of JSON it has to become
    records. So their stderr is a pipe, and their log has a descriptor of its own. It stays open as
    long as one of them lives: a subprocess that wrote to a closed one would be ended by SIGPIPE.
    """

    def __init__(self) -> None:
        self._lines = log_setup.relay()
        self.pipe = _Pipe(self._lines.write)
        self.pipe.listen()

    def flush(self) -> None:
        """Write what has come so far, a line without an end too."""
        self.pipe.read()
        self._lines.end_line()


class NurseryLink:
    """A nursery that was exec'd, and its channel. Its exit is seen elsewhere, by its pid."""

    def __init__(
        self,
        settings: messages.Settings,
        lifeline: int | None,
        on_message: Callable[[messages.FromNursery, list[int]], None],
        on_dump: Callable[[str], None],
        on_closed: Callable[[Exception | None], None],
    ) -> None:
        """Start it and send its settings; `on_dump` is called with each stack that it writes.

        Raises:
            OSError: the system has no room for another process, socket or descriptor.
        """
        with contextlib.ExitStack() as undo:
            ours, theirs = socket.socketpair()
            undo.callback(ours.close)
            with theirs:
                self._dump, self._dumps = _dump_pipe(on_dump)
                undo.callback(self._dump.close)
                self._raw = _RawOutput() if settings.worker.logging_format == "json" else None
                written = [self._dump.write_end]
                if self._raw is not None:
                    undo.callback(self._raw.pipe.close)
                    written.append(self._raw.pipe.write_end)
                try:
                    self._process = _execute(theirs.fileno(), lifeline, *written)
                finally:
                    for each in written:
                        os.close(each)
            undo.pop_all()
        self._channel = Channel[messages.FromNursery](
            ours, messages.FromNursery, on_message, on_closed
        )
        self._channel.send(settings)

    @property
    def pid(self) -> int:
        """The pid of the process that was started."""
        return self._process.pid

    def send(self, message: messages.Message, fds: tuple[int, ...] = ()) -> bool:
        """Send a frame; the descriptors are closed here once sent, or if they cannot be."""
        return self._channel.send(message, fds)

    def exited(self) -> None:
        """Note that the reaper has its status: subprocess must not look for it, nor warn."""
        self._process.returncode = 0

    def close(self) -> None:
        """Close the channel and the pipe. Idempotent."""
        self._channel.close()
        self._dump.close()
        self._dumps.flush()
        if self._raw is not None:
            self._raw.flush()


def _execute(
    channel: int, lifeline: int | None, dump: int, raw: int | None = None
) -> subprocess.Popen[bytes]:
    """Start a nursery.

    raw: its stderr, and its stdout if ours are the same; its log goes to a copy of our stderr then.
    """
    arguments = [channel, dump]
    if raw is not None:
        arguments.append(os.dup(log_setup.stream()))
    inherited = arguments if lifeline is None else [*arguments, lifeline]
    command = [sys.executable, "-P", "-m", "supervisor.nursery.program", *map(str, arguments)]
    try:
        return _started(command, inherited, raw)
    finally:
        for each in arguments[2:]:
            os.close(each)


def _started(
    command: list[str], inherited: list[int], raw: int | None
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=raw if log_setup.share_a_file() else None,
        stderr=raw,
        pass_fds=inherited,
        env=clean_environment(),
        start_new_session=True,
    )


class WorkerLink:
    """A worker's channel, its keeper's pipe and its dump pipe: our ends of them.

    Beats do not wake this process: with 64 workers that alone would cost 5% of a CPU. The keeper's
    pipe is read by `catch_up` only, and so is the channel of a throttled worker: ready, sent
    nothing for a while, and sending nothing but heartbeats and backlogs.

    Arguments:
        on_message: each frame from the worker's loop.
        on_beat: each beat of its keeper thread.
        on_dump: each stack dump.
        on_closed: the channel ended; called once, after the last message.

    Raises:
        OSError: the system has no room for another socket or descriptor.
    """

    def __init__(
        self,
        on_message: Callable[[messages.FromWorker], None],
        on_beat: Callable[[messages.KeeperBeat], None],
        on_dump: Callable[[str], None],
        on_closed: Callable[[Exception | None], None],
    ) -> None:
        self._on_message, self._on_beat, self._on_closed = on_message, on_beat, on_closed
        self._beats = Decoder(messages.FromKeeper)
        self.channel_ended = False
        self._was_ready = self._is_throttled = False
        self._quiet_for = 0
        with contextlib.ExitStack() as undo:
            ours, theirs = socket.socketpair()
            undo.callback(ours.close)
            undo.callback(theirs.close)
            self._keeper = _Pipe(self._beats_received)
            undo.callback(self._keeper.close)
            undo.callback(os.close, self._keeper.write_end)
            self._dump, self._dumps = _dump_pipe(on_dump)
            undo.pop_all()
        # Neither may wait for us: a full pipe costs a beat. The flag belongs to the open file, so
        # it goes to the worker with the descriptor.
        os.set_blocking(self._keeper.write_end, False)
        os.set_blocking(self._dump.write_end, False)
        #: For the worker; they go to the nursery with Spawn, whose channel closes them here.
        self.for_worker = (theirs.detach(), self._keeper.write_end, self._dump.write_end)
        self._channel = Channel[messages.FromWorker](
            ours, messages.FromWorker, self._received, self._ended
        )

    def send(self, message: messages.ToWorker) -> None:
        """Send a frame; nothing happens if the worker is gone."""
        self._channel.send(message)
        self.listen()

    def listen(self) -> None:
        """Read its messages at once until it is throttled again: something is expected of it."""
        self._quiet_for = 0
        if self._is_throttled:
            self._is_throttled = False
            self._channel.listen()

    def catch_up(self) -> None:
        """Read the messages that may wait for a regular tick."""
        self._keeper.read()
        if self._is_throttled:
            self._channel.read()
        elif self._was_ready:
            self._quiet_for += 1
            if self._quiet_for > THROTTLED_AFTER:
                self._is_throttled = True
                self._channel.pause_reading()

    def close(self) -> None:
        """Close all of our ends, after what the pipes of a dead worker still hold. Idempotent."""
        self._channel.close()
        for pipe in (self._keeper, self._dump):
            pipe.read()
            pipe.close()
        self._dumps.flush()

    def _received(self, message: messages.FromWorker, _fds: list[int]) -> None:
        if not isinstance(message, messages.Heartbeat | messages.Backlog):
            self._was_ready = self._was_ready or isinstance(message, messages.Ready)
            self.listen()
        self._on_message(message)

    def _ended(self, fault: Exception | None) -> None:
        self.channel_ended = True
        self._on_closed(fault)

    def _beats_received(self, data: bytes) -> None:
        try:
            beats = self._beats.feed(data)
        except IpcError:
            self._keeper.close()  # it cannot be read any more; the loop's own channel goes on
            return
        for beat in beats:
            self._on_beat(beat)
