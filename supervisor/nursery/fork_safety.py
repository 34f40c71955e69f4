"""Decide that it is safe to fork after the import of the user's modules, or that it is not.

A connection made at import would be shared by all workers, their requests and replies mixed, and so
would the epoll of an event loop; a thread does not survive a fork, but whatever lock it held does.
All are found by looking at the process before and after the import. Threads that are not Python's
(BLAS, gRPC) are only noted: the libraries that start them know forks, and refusing them would
refuse numpy.
"""

from __future__ import annotations

import _thread
import os
import socket
import stat
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Read by hand: psutil has no names of threads and no targets of descriptors such as an epoll, and
# its connections are those of the whole system, looked for in tables, without an inode.
_TASKS = Path("/proc/self/task")
_DESCRIPTORS = Path("/proc/self/fd")
_EPOLL = "anon_inode:[eventpoll]"

#: The name of a thread that `threading` does not know.
NAMELESS = "a thread without a name"


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
    made = Snapshot(
        after.connections - before.connections,
        after.pollers - before.pollers,
        after.threads - before.threads,
    )
    noted = sorted({name for _, name in after.native - before.native})
    return Verdict(_reasons(made, "made at import"), noted)


def not_carried_over(at_start: Snapshot, now: Snapshot, ours: frozenset[int]) -> list[str]:
    """List what the start of the interpreter made and a fork cannot have for itself.

    A sitecustomize or a .pth file starts agents in every Python. No import in the workers helps
    here, since they are forks in any case.

    at_start: taken before the import.
    now: what is gone again counts no more.
    ours: the descriptors that this process was given.
    """
    kept = Snapshot(
        frozenset(c for c in at_start.connections & now.connections if c.descriptor not in ours),
        at_start.pollers & now.pollers,
        at_start.threads & now.threads,
    )
    return _reasons(kept, "made before it")


def _reasons(made: Snapshot, when: str) -> list[str]:
    connections = sorted(made.connections, key=lambda connection: connection.descriptor)
    threads = sorted(name for _, name in made.threads)
    return [
        *(f"an open connection (descriptor {c.descriptor}) to {c.peer}" for c in connections),
        *(
            f"an event loop {when} (descriptor {each} is its epoll)"
            for each in sorted(made.pollers)
        ),
        *(f"a running thread, {name!r}" for name in threads),
    ]


#: Threads that were started by `_thread` itself and have not run yet.
_pending: set[object] = set()


@contextmanager
def raw_threads_noted() -> Generator[None]:
    """Note the threads that are started past `threading` while this lasts.

    Such a thread has no frame before it gets its first turn, so one that the last line of an import
    starts would not be seen: whoever forked then would leave it out.
    """
    real = _thread.start_new_thread
    _thread.start_new_thread = _noting(real)
    try:
        yield
    finally:
        _thread.start_new_thread = real


def _noting(start: Callable[..., int]) -> Callable[..., int]:
    def start_new_thread(function: Any, args: Any, kwargs: Any = None, /) -> int:
        note = object()
        _pending.add(note)
        try:
            return start(_run, (note, function, args, kwargs or {}))
        except BaseException:
            _pending.discard(note)
            raise

    return start_new_thread


def _run(note: object, function: Any, args: Any, kwargs: Any) -> None:
    _pending.discard(note)  # its frame is seen from here on
    function(*args, **kwargs)


def take_snapshot() -> Snapshot:
    """Look at this process. Off Linux, native threads cannot be seen and are left out."""
    # Before the frames: a thread that gets its first turn meanwhile is seen in one of them.
    pending = {(id(note), NAMELESS) for note in tuple(_pending)}
    threads = _python_threads()
    descriptors = _descriptors()
    return Snapshot(
        frozenset(c for c in map(_connection, descriptors) if c is not None),
        frozenset(each for each in descriptors if _is_poller(each)),
        frozenset((ident, name) for ident, name, _ in threads) | pending,
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

    `_thread.start_new_thread` leaves no trace in `threading`, so frames are looked at too; one that
    runs a C function has none, and is only counted.
    """
    main = threading.main_thread().ident
    named = {
        thread.ident: (thread.name, thread.native_id or 0)
        for thread in threading.enumerate()
        if thread.ident is not None
    }
    idents = (named.keys() | sys._current_frames().keys()) - {main}  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    uncounted = _thread._count() - len(idents)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    frameless = [(-number, NAMELESS, 0) for number in range(1, uncounted + 1)]
    return [*((ident, *named.get(ident, (NAMELESS, 0))) for ident in idents), *frameless]


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
