"""Processes of `python -m docket`, forked from one that has imported it.

To import docket, under coverage, takes most of what a short command takes, and is the same for all
of them. What a process is apart from that, it is here: its arguments, environment, directory and
streams are its own, it leaves by the interpreter's end, and coverage measures it.
"""

import atexit
import importlib
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream

ROOT = Path(__file__).parents[2]
#: More than any request or answer has.
_MESSAGE_BYTES = 1 << 20


class Forked:
    """A program that was forked: its pid, and its exit code once it has ended."""

    def __init__(self, server: "_Server", pid: int) -> None:
        self._server = server
        self.pid = pid
        self.returncode: int | None = None

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    async def wait(self) -> int:
        """Wait for its end."""
        if self.returncode is None:
            if sys.platform == "linux":
                # Whoever asks the parent at once keeps others from their processes meanwhile.
                descriptor = os.pidfd_open(self.pid)
                try:
                    await anyio.wait_readable(descriptor)
                finally:
                    os.close(descriptor)
            self.returncode = await anyio.to_thread.run_sync(self._server.reap, self.pid)
        return self.returncode


def fork_docket(
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str],
    stdout: int,
    stderr: int | None = None,
) -> Forked:
    """Run `python -m docket` in a process of its own; without `stderr` it has the tests'."""
    server = _server()
    streams = [stdout] if stderr is None else [stdout, stderr]
    return Forked(server, server.fork(arguments, cwd, env, streams))


class ForkedStream(ByteReceiveStream):
    """The read end of a pipe from such a process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await anyio.wait_readable(self._descriptor)
        data = os.read(self._descriptor, max_bytes)
        if not data:
            raise anyio.EndOfStream
        return data

    async def aclose(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class _Server:
    """The process that forks, and our connection to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        # No option of docket's: those are of each program.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("DOCKET_")}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                cwd=ROOT,
                env=inherited,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._connection = ours
        # A process is reaped in a thread: an answer is to whoever asked.
        self._lock = threading.Lock()

    def fork(
        self, arguments: tuple[str, ...], cwd: Path, env: Mapping[str, str], streams: list[int]
    ) -> int:
        return self._ask({"arguments": arguments, "cwd": str(cwd), "env": dict(env)}, streams)

    def reap(self, pid: int) -> int:
        """Return the exit code of a process that has ended, or ends soon."""
        return self._ask({"pid": pid}, [])

    def close(self) -> None:
        self._connection.close()
        self._process.wait()

    def _ask(self, request: dict[str, Any], streams: list[int]) -> int:
        with self._lock:
            message = json.dumps(request).encode() + b"\n"
            if streams:
                socket.send_fds(self._connection, [message], streams)
            else:
                self._connection.sendall(message)
            answer = self._connection.recv(_MESSAGE_BYTES)
        assert answer, "the process that forks has ended"
        return int(answer)


@cache
def _server() -> _Server:
    server = _Server()
    atexit.register(server.close)
    return server


def _serve(connection: socket.socket) -> None:
    """Fork and reap as asked, until nobody can ask; the process of a program returns from here."""
    while True:
        message, streams, _, _ = socket.recv_fds(connection, _MESSAGE_BYTES, 2)
        while not message.endswith(b"\n"):
            more = connection.recv(_MESSAGE_BYTES) if message else b""
            if not more:
                return
            message += more
        request = json.loads(message)
        if "pid" in request:
            status = os.waitpid(request["pid"], 0)[1]
            connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
            continue
        pid = os.fork()
        if pid == 0:
            connection.close()
            _become_docket(streams, **request)
            return
        for each in streams:
            os.close(each)
        connection.sendall(str(pid).encode())


def _become_docket(streams: list[int], arguments: list[str], cwd: str, env: dict[str, str]) -> None:
    streams.insert(0, os.open(os.devnull, os.O_RDONLY))
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = _stream(0, "r")
    sys.stdout = _stream(1, "w")
    sys.stderr = _stream(2, "w", errors="backslashreplace")
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[0] = cwd
    sys.argv = ["docket", *arguments]
    runpy.run_module("docket", run_name="__main__", alter_sys=True)


def _stream(descriptor: int, mode: str, **how: Any) -> Any:
    """Open a standard stream as the interpreter does at its start."""
    buffering = 1 if mode == "w" and (descriptor == 2 or os.isatty(descriptor)) else -1
    return open(descriptor, mode, buffering, encoding="utf-8", closefd=False, **how)


if __name__ == "__main__":
    # Not above: the tests' own process imports this module, and forks nothing of it.
    importlib.import_module("docket.cli")
    _serve(socket.socket(fileno=int(sys.argv[1])))
