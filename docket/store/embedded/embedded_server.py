"""The embedded server: a private Valkey behind memory:// and embedded://.

    memory://NAME         data lost with the server; NAME distinguishes servers of one process
    embedded:///PATH      data kept in the folder PATH, every write on disk before its reply

It is a real server, on a Unix socket that only this user can reach, without a TCP port. A guard
process (docket/store/embedded/guard.py) starts it, and shuts it down once its last owner has ended
or died.
An owner is a process that holds the lifeline: the one that called `start`, its forks, and any
process that is given `EmbeddedServer.lifeline`. Subprocesses started by exec do not hold it.
"""

import contextlib
import fcntl
import os
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import quote

from docket.errors import EmbeddedFolderInUse, EmbeddedServerError
from docket.store.embedded import guard
from docket.store.embedded.home import (
    ServerIdentity,
    ServerPaths,
    server_binary,
)
from docket.store.embedded.private_folder import open_private

#: Flags of the guard's interpreter: without the environment and site packages, which would add
#: 10 ms or more to every start.
INTERPRETER_FLAGS = ("-I", "-S")

#: Variables of the owner's service manager, which are not meant for the server.
_NOT_INHERITED: Final = ("NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_")

#: The server uses the allocator of the C library. Its fast bins are emptied all at once:
#: with a million tasks this paused an adoption for 80 ms. With its small default caches, freed
#: records are fetched from cold memory, and each of a million tasks cost up to twice as much; with
#: caches four times as large as these, filling one took 30 ms.
_ALLOCATION: Final = "glibc.malloc.mxfast=0:glibc.malloc.tcache_count=500"
#: Older versions do not know the first setting, and the second may overflow their counters.
_ALLOCATION_SINCE: Final = (2, 31)

#: The messages of guard.Report: its pid; the server's pid; three failures; the end.
_WORDS: Final = (b"guard", b"ready", b"failed", b"in-use", b"ended", b"stopped")


class _Reports:
    """The messages of the guard: the read end of the status pipe, owned by the guard's starter."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        #: Lines that are not messages: a traceback of the guard.
        self.noise: list[str] = []
        self._buffer = b""

    def next(self) -> tuple[str, str]:
        """Wait for the next message and return (word, text); ("gone", "") if the guard has died."""
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if not newline:
                chunk = os.read(self.fd, 65536)
                if not chunk:
                    return "gone", ""
                self._buffer += chunk
                continue
            self._buffer = rest
            word, tab, text = line.partition(b"\t")
            if tab and word in _WORDS:
                return word.decode(), text.decode("unicode_escape")
            self.noise.append(line.decode(errors="replace"))

    def until_the_guard_is_gone(self) -> str:
        """Read up to the guard's last message: "stopped", or "gone" if it was killed."""
        word = ""
        while word not in {"stopped", "gone"}:
            word, _ = self.next()
        return word

    def pending(self) -> bool:
        """Return whether there is something to read; reads nothing, so a fork may call it too."""
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        return bool(self._buffer) or bool(poller.poll(0))


class EmbeddedServer:
    """A running server, with its address and lifeline. Made by `start` and `shared`."""

    #: The URL for clients, in any process of this user: unix:///.../valkey.sock
    url: str
    #: The pid of the server, not of its guard.
    pid: int
    #: The write end of the lifeline, not inheritable; any duplicate of it keeps the server alive.
    #: -1 once stopped.
    lifeline: int
    #: The folder of data, lock and log (server.log); a temporary one for memory://.
    folder: Path

    def __init__(
        self, home: ServerPaths, pids: tuple[int, int], lifeline: int, reports: _Reports
    ) -> None:
        """Store the attributes; `pids` are those of the guard and of the server."""
        self.url = "unix://" + quote(os.fsencode(home.socket))
        self.folder = home.folder
        #: Its log; None for memory://, whose folder goes with it.
        self.log = home.folder / guard.LOG_FILE if home.durable else None
        self._scratch = home.scratch
        self._guard_pid, self.pid = pids
        self.lifeline = lifeline
        self._reports = reports
        self._starter = os.getpid()
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """Return a descriptor that is readable once the server has ended by itself."""
        return self._reports.fd

    @property
    def ended(self) -> bool:
        """Return True if it was stopped, crashed, or was killed. It is not restarted by itself."""
        return self.lifeline < 0 or self._reports.pending()

    def stop(self) -> None:
        """Ask the guard to shut the server down (`GuardLoop.shut_down`), and wait.

        After its end this only cleans up. The server ends for all holders of the lifeline: a
        process left behind by a task must not keep its owner waiting. In a forked child this only
        closes the child's copy of the lifeline.
        """
        with self._lock:
            if self.lifeline < 0:
                return
            lifeline, self.lifeline = self.lifeline, -1
            if os.getpid() == self._starter:
                self._end(lifeline)
            os.close(lifeline)
            os.close(self._reports.fd)

    def _end(self, lifeline: int) -> None:
        with contextlib.suppress(BrokenPipeError):  # the guard was killed
            os.write(lifeline, b"\n")
        last_word = self._reports.until_the_guard_is_gone()
        _reap(self._guard_pid)
        if last_word == "gone" and self._scratch:
            guard.remove(str(self._scratch))


def start(url: str, *, lock_timeout_seconds: float = 5.0) -> EmbeddedServer:
    """Start a server and return once it answers: after 65 ms, plus the time to read its data.

    The caller owns it: stop it, or let it end with this process. `lock_timeout_seconds` limits the
    wait for a folder that another server owns (at a restart, one that is just ending).

    Raises:
        ValueError: the URL is neither memory://[NAME] nor embedded:///PATH.
        ServerProgramMissing: there is no server for this machine.
        EmbeddedFolderInUse: the folder's owner is still there after `lock_timeout_seconds`.
        EmbeddedServerError: anything else; the message ends with the server's own last lines.
    """
    home = ServerPaths.of(ServerIdentity.of(url))
    command = home.command(server_binary(url))
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as guards:
        lifeline_end, lifeline = _pipe(guards, ours)
        status, status_end = _pipe(ours, guards)
        fds = [lifeline_end, status_end]
        if home.durable:
            fds.append(_keep(open_private(url, home.folder), guards))
        arguments = _guard_arguments(home, fds, lock_timeout_seconds)
        _launch(url, [*arguments, *command], fds)
        guards.close()  # otherwise the end of its reports would never be seen
        reports = _Reports(status)
        pids = _await_ready(url, home, reports)
        ours.pop_all()
    return EmbeddedServer(home, pids, lifeline, reports)


def _guard_arguments(home: ServerPaths, fds: list[int], lock_timeout_seconds: float) -> list[str]:
    """Return the arguments of `guard.GuardOptions`.

    `fds` are the lifeline, the status pipe and, if data is kept, the folder.
    """
    program = Path(sys.argv[0] if sys.argv else "").name or "python"
    owner = f"process {os.getpid()} ({program})"
    lifeline, status, folder = [*fds, -1][:3]
    numbers = [str(lifeline), str(status), str(folder)]
    return [*numbers, str(home.scratch or ""), str(home.socket), owner, str(lock_timeout_seconds)]


def _launch(url: str, arguments: list[str], fds: list[int]) -> None:
    """Execute the guard, in which only `fds` stay open.

    The executed process ends as soon as it has forked the guard, and is waited for here: an
    interruption in between would leave an unreaped child.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)
    }
    if _glibc() >= _ALLOCATION_SINCE:
        environment.setdefault("GLIBC_TUNABLES", _ALLOCATION)
    try:
        with (
            _signals_blocked(),
            subprocess.Popen(
                [sys.executable, *INTERPRETER_FLAGS, guard.__file__, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=fds[1],
                pass_fds=fds,
                env=environment,
                cwd="/",
                start_new_session=True,
            ),
        ):
            pass
    except OSError as error:
        raise EmbeddedServerError(
            f"cannot start {url}: its guard could not be executed: {error}"
        ) from error


def _glibc() -> tuple[int, ...]:
    """Return the version of the C library if it is GNU's, else (0,)."""
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError, OSError):
        # Not supported by this system, or by this C library (musl).
        return (0,)
    found = re.fullmatch(r"glibc (\d+)\.(\d+).*", version)
    return (int(found[1]), int(found[2])) if found else (0,)


@contextlib.contextmanager
def _signals_blocked() -> Generator[None]:
    """Block all signals until the guard has set up its handlers and its pid is known here."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _await_ready(url: str, home: ServerPaths, reports: _Reports) -> tuple[int, int]:
    """Return the pids of the guard and the server once the server answers, or raise its error.

    No time limit: every failure ends with a message or the end of the pipe, and a server may take
    minutes to read a large append-only file.
    """
    guard_pid = -1
    while True:
        word, text = reports.next()
        match word:
            case "guard":
                guard_pid = int(text)
            case "ready":
                return guard_pid, int(text)
            case _:
                if word != "gone":
                    reports.until_the_guard_is_gone()
                if guard_pid > 0:
                    _reap(guard_pid)
                _fail(url, home, word, text or "\n".join(reports.noise))


def _fail(url: str, home: ServerPaths, word: str, text: str) -> NoReturn:
    if word == "in-use":
        owner, _, socket = text.strip().partition("\n")
        raise EmbeddedFolderInUse(
            f"cannot start {url}: its folder is owned by the server of {owner or 'another process'}"
            f"{_remedy(owner)}, or connect to it: unix://{quote(os.fsencode(socket))}"
        )
    if word == "gone":
        text = f"its guard died: {text or 'it was killed'}"
    log = f" (its log: {home.folder / guard.LOG_FILE})" if home.durable else ""
    raise EmbeddedServerError(f"cannot start {url}: {text}{log}")


def _remedy(owner: str) -> str:
    """Return the remedy for an owner, which may be gone while a fork of it holds the server."""
    named = re.match(r"process (\d+) ", owner)
    if named is not None:
        try:
            os.kill(int(named[1]), 0)
        except ProcessLookupError:
            return ", which is gone; what it forked still runs (workers finish their tasks): wait"
        except PermissionError:
            pass  # alive, but of another user
    return "; stop that one"


def _reap(guard_pid: int) -> None:
    """Reap the guard, which is our child only if we adopt orphans (PID 1, or a subreaper)."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(guard_pid, 0)


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    """Return (read end, write end) of a new pipe, each closed by the stack of its owner."""
    read, write = os.pipe()
    return _keep(read, reader), _keep(write, writer)


def _keep(fd: int, owner: contextlib.ExitStack) -> int:
    """Give `fd` to `owner`, moved out of the range 0 to 2 if necessary.

    These numbers are free in a program that was started with them closed, and the guard's own
    standard streams would overwrite it.
    """
    if fd <= 2:
        low, fd = fd, fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
        os.close(low)
    owner.callback(os.close, fd)
    return fd


_shared: Final[dict[ServerIdentity, EmbeddedServer]] = {}
#: Held while a server starts. A fork waits for it, so that no child sees a half-started server and
#: starts a second one of the same name. Reentrant for a signal handler that forks meanwhile.
_starting: Final = threading.RLock()
os.register_at_fork(
    before=_starting.acquire,
    after_in_parent=_starting.release,
    after_in_child=_starting.release,
)


def shared(url: str) -> EmbeddedServer:
    """Return this process's server of a URL: started on first use, kept until the process ends.

    memory:// without a name is one server, too. Forked children use their parent's. A server that
    was stopped or has died is replaced. Thread-safe; raises the errors of `start`.
    """
    identity = ServerIdentity.of(url)
    with _starting:
        server = _shared.get(identity)
        if server is None or server.ended:
            if server is not None:
                server.stop()
            server = _shared[identity] = start(url)
        return server
