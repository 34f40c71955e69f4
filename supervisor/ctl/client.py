"""The client of the control socket, for a program without an event loop: `ctl`.

Blocking, one request at a time. A supervisor that does not answer, breaks the protocol or goes away
has an error of its own; nothing here waits for ever unless the caller asks for it.
"""

import contextlib
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from docket_display import printable
from ipc.control import (
    MAX_ANSWER,
    PROTOCOL,
    ControlHello,
    Done,
    Refused,
    Report,
    Request,
    StatusRequest,
    ToClient,
)
from ipc.errors import FrameError
from ipc.framing import Decoder, encode
from supervisor.control import lock_file, paths
from supervisor.control.peer_credentials import credentials_of
from supervisor.errors import NoSupervisor, OrderFailed, SupervisorGone

#: The time for an answer that a supervisor gives at once; it takes longer only if stopped or hung.
ANSWER_SECONDS = 10.0

_Answer = TypeVar("_Answer", Done, Report)

_CHUNK = 1 << 16
_TIMEVAL = struct.Struct("ll")
_REASONS = {
    errno.ENOENT: "there is no such socket",
    errno.ENOTDIR: "there is no such socket",
    errno.ECONNREFUSED: "nobody listens there any more",
    errno.EACCES: "it is another user's",
}


class Client:
    """A connection to the supervisor whose control socket is at `path`; closed with its block.

    Raises:
        NoSupervisor: no process listens there.
        OrderFailed: it is no supervisor, or refuses this client.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._decoder: Decoder[ToClient] = Decoder(ToClient, MAX_ANSWER)
        self._unread: list[ToClient] = []
        self._socket = _connected(path)
        self._process = -1
        try:
            self._peer_pid = self._trusted_peer()
            self._send(ControlHello(PROTOCOL, os.getpid()))
            self.hello = self._read_hello()
            self._process = self._open_process()
        except BaseException:
            self.close()
            raise

    def ask(self, request: Request, timeout_seconds: float | None = ANSWER_SECONDS) -> Done:
        """Send a command, and wait until it is done.

        Arguments:
            timeout_seconds: limit of the wait; None: no limit.

        Raises:
            OrderFailed: it was refused, or not answered.
        """
        done = self._request(request, Done, timeout_seconds)
        return Done(_printable(done.text))

    def status(self) -> str:
        """Get the JSON of /status.

        Raises:
            OrderFailed: it was refused, or not answered.
        """
        return self._request(StatusRequest(), Report, ANSWER_SECONDS).json

    def is_over_within(self, seconds: float | None) -> bool:
        """Wait for the supervisor to close the connection; return whether it did in this time."""
        if not _readable(self._socket.fileno(), seconds):
            return False
        try:
            return not self._socket.recv(_CHUNK)
        except ConnectionError:
            return True

    def wait_for_end(self) -> None:
        """Wait until its pool has ended, and its process too unless the pool is a guest there."""
        while not self.is_over_within(None):
            pass
        if self._process >= 0 and not self.hello.guest:
            _readable(self._process, None)

    def close(self) -> None:
        """Close the connection. Twice is fine."""
        self._socket.close()
        if self._process >= 0:
            os.close(self._process)
            self._process = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _name(self) -> str:
        return f"the supervisor at {self._path}"

    def _request(
        self, request: Request, expected: type[_Answer], timeout_seconds: float | None
    ) -> _Answer:
        self._send(request)
        match self._next(timeout_seconds):
            case ControlHello():
                raise OrderFailed(f"{self._name} said Hello twice")
            case Refused(text):
                raise OrderFailed(_printable(text))
            case answer if isinstance(answer, expected):
                return answer
            case _:
                raise OrderFailed(f"{self._name} answered what was not asked")

    def _trusted_peer(self) -> int | None:
        """Return the pid at the other end.

        Raises:
            OrderFailed: it is neither this user's nor root's: what it says is not to be believed.
        """
        peer = credentials_of(self._socket)
        # Root looks after the services of others, and believes whose folder it is.
        if not peer.is_trusted and not (os.geteuid() == 0 and peer.owns(self._path.parent)):
            raise OrderFailed(
                f"who listens at {self._path} is the user with uid {peer.uid}, neither this user"
                " nor root: it is not asked"
            )
        return peer.pid

    def _read_hello(self) -> ControlHello:
        match self._next(ANSWER_SECONDS):
            case ControlHello(protocol) as hello if protocol == PROTOCOL:
                return hello
            case ControlHello(protocol):
                raise OrderFailed(
                    f"{self._name} speaks protocol {protocol}, this program {PROTOCOL};"
                    " use the program that it was started by, or restart it"
                )
            case _:
                raise OrderFailed(f"{self._name} did not say Hello")

    def _send(self, message: ControlHello | Request) -> None:
        # A supervisor that is about to disconnect us may have sent the reason, which is read next.
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(encode(message))

    def _next(self, timeout_seconds: float | None) -> ToClient:
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while not self._unread:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not _readable(self._socket.fileno(), left):
                raise OrderFailed(
                    f"{self._name} did not answer within {timeout_seconds:g} s:"
                    " it is stopped, or it hangs"
                )
            self._unread += self._received()
        return self._unread.pop(0)

    def _received(self) -> list[ToClient]:
        try:
            data = self._socket.recv(_CHUNK)
        except ConnectionError:
            data = b""
        if not data:
            raise SupervisorGone(
                f"{self._name} closed the connection without an answer: it has ended,"
                " or is another user's"
            )
        try:
            return self._decoder.feed(data)
        except FrameError as error:
            raise OrderFailed(f"{self._path} is no control socket of ours: {error}") from None

    def _open_process(self) -> int:
        """A pidfd of the supervisor; -1 on other systems, or if its pid is of another namespace."""
        if self._peer_pid is None or self._peer_pid != self.hello.pid:
            return -1
        try:
            return os.pidfd_open(self._peer_pid)
        except (AttributeError, OSError):
            return -1


def find(environment: Mapping[str, str]) -> Path:
    """Find the control socket of the only live supervisor of this user.

    Raises:
        NoSupervisor: there is none, or there are several; the message names them.
    """
    folders = paths.folders(environment)
    found = [path for folder in folders for path in lock_file.live_sockets(folder)]
    if not found:
        looked = " and ".join(map(str, folders)) or str(paths.own_folder())
        raise NoSupervisor(
            f"no supervisor of this user is running (looked in {looked});"
            " if its socket is elsewhere, name it with --control"
        )
    if len(found) > 1:
        raise SeveralSupervisors(found)
    return found[0]


class SeveralSupervisors(NoSupervisor):
    """Several supervisors of this user run; `paths` are their control sockets."""

    def __init__(self, paths: list[Path]) -> None:
        super().__init__(f"{len(paths)} supervisors are running; name one with --control")
        self.paths = paths


def _printable(text: str) -> str:
    """The lines of a text, for a terminal."""
    return "\n".join(map(printable.on_one_line, text.split("\n")))


def _connected(path: Path) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Not settimeout: without blocking the kernel refuses at once where the backlog is full.
        seconds, rest = divmod(ANSWER_SECONDS, 1)
        limit = _TIMEVAL.pack(int(seconds), int(rest * 1_000_000))
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        connected.connect(os.fspath(path))
    except BlockingIOError:
        connected.close()
        raise OrderFailed(
            f"{path} takes no connection: its supervisor is stopped, or it hangs"
        ) from None
    except OSError as error:
        connected.close()
        reason = _REASONS.get(error.errno or 0, error.strerror)
        raise NoSupervisor(f"no supervisor is running at {path}: {reason}") from None
    return connected


def _readable(fd: int, timeout_seconds: float | None) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(None if timeout_seconds is None else timeout_seconds * 1000))
