"""Decide that it is safe to fork after the import of the user's modules, or that it is not.

A connection made at import would be shared by all workers, their requests and replies mixed, and so
would the epoll of an event loop; a thread does not survive a fork, but whatever lock it held does.
All are found by looking at the process before and after the import. Threads that are not Python's
(BLAS, gRPC) are only noted: the libraries that start them know forks, and refusing them would
refuse numpy.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Read by hand: psutil has no names of threads and no targets of descriptors such as an epoll, and
# its connections are those of the whole system, looked for in tables, without an inode.
_TASKS = Path("/proc/self/task")
_DESCRIPTORS = Path("/proc/self/fd")
_EPOLL = "anon_inode:[eventpoll]"


@dataclass(frozen=True)
class Connection:
    """A connected socket: its descriptor, its identity (a number may be used again), its peer."""

    descriptor: int
    inode: int
    peer: str


@dataclass(frozen=True)
class Snapshot:
    """The parts of a process that would be shared with, or missing in, a fork of it."""

    connections: frozenset[Connection] = frozenset()
    #: Descriptors of epoll: each belongs to an event loop.
    pollers: frozenset[int] = frozenset()
    #: Python threads other than the main one: identity and name.
    threads: frozenset[tuple[int, str]] = frozenset()
    #: Threads that are not Python's: id and name.
    native: frozenset[tuple[int, str]] = frozenset()


@dataclass(frozen=True)
class Verdict:
    """`reasons` not to fork (none: it is safe), and findings that are `noted` without being one."""

    reasons: list[str] = field(default_factory=list[str])
    noted: list[str] = field(default_factory=list[str])


def judge(before: Snapshot, after: Snapshot) -> Verdict:
    """Judge the import between two snapshots."""
    connections = sorted(
        after.connections - before.connections, key=lambda connection: connection.descriptor
    )
    pollers = sorted(after.pollers - before.pollers)
    threads = sorted(name for _, name in after.threads - before.threads)
    return Verdict(
        [f"an open connection (descriptor {c.descriptor}) to {c.peer}" for c in connections]
        + [f"an event loop made at import (descriptor {each} is its epoll)" for each in pollers]
        + [f"a running thread, {name!r}" for name in threads],
        sorted({name for _, name in after.native - before.native}),
    )


def take_snapshot() -> Snapshot:
    """Look at this process. Off Linux, native threads cannot be seen and are left out."""
    threads = _python_threads()
    descriptors = _descriptors()
    return Snapshot(
        frozenset(c for c in map(_connection, descriptors) if c is not None),
        frozenset(each for each in descriptors if _is_poller(each)),
        frozenset((ident, name) for ident, name, _ in threads),
        frozenset(_native_threads({native for *_, native in threads})),
    )


def _descriptors() -> list[int]:
    # /dev/fd is /proc/self/fd on Linux, and is there on macOS too.
    return sorted(int(entry.name) for entry in Path("/dev/fd").iterdir())


def _connection(descriptor: int) -> Connection | None:
    """The connection of this descriptor; None for a file, an unconnected socket, or a closed one
    (that of the listing itself, for one)."""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISSOCK(status.st_mode):
            return None
        sock = socket.socket(fileno=descriptor)
        try:
            return Connection(descriptor, status.st_ino, _peer(sock.getpeername()))
        finally:
            sock.detach()  # it belongs to the code that opened it
    except OSError:
        return None


def _is_poller(descriptor: int) -> bool:
    try:
        return str((_DESCRIPTORS / str(descriptor)).readlink()) == _EPOLL
    except OSError:
        return False  # closed meanwhile, or not Linux


def _peer(address: Any) -> str:
    match address:
        case (str(host), int(port)) | (str(host), int(port), _, _):
            return f"{host}:{port}"
        case "":
            return "a socket pair (an event loop made at import has one)"
        case bytes():  # a name in Linux's abstract namespace
            return os.fsdecode(address).replace("\0", "@")
        case _:
            return str(address)


def _python_threads() -> list[tuple[int, str, int]]:
    """Identity, name and native id of all Python threads but the main one.

    `_thread.start_new_thread` leaves no trace in `threading`, so frames are looked at too.
    """
    main = threading.main_thread().ident
    named = {
        thread.ident: (thread.name, thread.native_id or 0)
        for thread in threading.enumerate()
        if thread.ident is not None
    }
    idents = (named.keys() | sys._current_frames().keys()) - {main}  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return [(ident, *named.get(ident, ("a thread without a name", 0))) for ident in idents]


def _native_threads(python: set[int]) -> list[tuple[int, str]]:
    if not _TASKS.is_dir():
        return []
    others = {int(entry.name) for entry in _TASKS.iterdir()} - python - {os.getpid()}
    return [(tid, name) for tid in others if (name := _thread_name(tid)) is not None]


def _thread_name(tid: int) -> str | None:
    try:
        return (_TASKS / str(tid) / "comm").read_text().strip()
    except OSError:
        return None  # it ended meanwhile
