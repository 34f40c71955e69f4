"""The guard of an embedded server: starts it, watches over it, ends it with its last owner.

Executed by `docket.store.embedded.embedded_server` as `python -I -S guard.py ...`: only the
standard library, and little of that, since its imports are part of every start. It is a process of
its own because a process that is killed with SIGKILL can clean up nothing, and because a signal to
the owner's group must not end the server before the owner has drained.

    lifeline   we hold the read end, owners the write ends. EOF: the last owner is gone, however it
               died. A byte: who started us wants the end now, whoever else holds on.
    status     one line a message to who started us: a word, a tab, an escaped text. Our stderr is
               this pipe too, so a traceback of ours reaches him as it is.
    output     what the server prints. We write it to the log, and every piece of it makes us ask
               again whether it serves: there is no interval at which we look.
"""

# pathlib alone would add 10 ms to every start:
# ruff: noqa: PTH106, PTH108, PTH102, PTH118

import contextlib
import fcntl
import io
import os
import select
import signal
import socket
import sys
import time

try:
    import ctypes
except ImportError:  # a Python built without libffi: see die_with
    ctypes = None

#: Blocked in us and in the server: a drain decides when the server ends, not a signal.
BLOCKED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
#: Ignored too in us, and by inheritance in the server unless it has handlers of its own.
IGNORED = (*BLOCKED, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP, signal.SIGPIPE, signal.SIGALRM)
#: From SHUTDOWN to SIGKILL.
SHUTDOWN_SECONDS = 2.0
LOCK_FILE = "docket.lock"
LOG_FILE = "server.log"
#: The log starts anew beyond this size.
LOG_BYTES = 1 << 20
#: As much of the server's last output as an error shows.
TAIL_BYTES = 4096
PR_SET_PDEATHSIG = 1


class FolderInUse(Exception):
    """Another guard holds the folder; the text is what it wrote into the lock file."""


class GuardOptions:
    """What the owner wants: the command line, in this order.

    `folder` is a descriptor of the data folder (-1: nothing is kept), `scratch` the path of a
    temporary folder for us to make and remove ("": not needed).
    """

    def __init__(self, arguments: list[str]) -> None:
        self.lifeline, self.status, self.folder = map(int, arguments[:3])
        self.scratch, self.address, self.owner = arguments[3:6]
        self.lock_seconds = float(arguments[6])
        self.command = arguments[7:]


class Report:
    """Our end of the status pipe. If its reader is dead, that is the lifeline's news."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def say(self, word: str, text: str = "") -> None:
        line = word.encode() + b"\t" + text.encode("unicode_escape") + b"\n"
        with contextlib.suppress(BrokenPipeError):
            os.write(self.fd, line)


class Log:
    """The server's output: a file of bounded size, and its tail in memory.

    Written by us and not by the server, so that a full disk costs log lines and no more.
    """

    def __init__(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self.fd = os.open(LOG_FILE, flags, 0o600)
        self.size = os.fstat(self.fd).st_size
        self.tail = b""

    def write(self, chunk: bytes) -> None:
        self.tail = (self.tail + chunk)[-TAIL_BYTES:]
        with contextlib.suppress(OSError):
            if self.size > LOG_BYTES:
                os.ftruncate(self.fd, 0)
                self.size = 0
            self.size += os.write(self.fd, chunk)


class Server:
    """The server process, our only child."""

    def __init__(self, command: list[str], log: Log) -> None:
        self.log = log
        self.exited: int | None = None
        self.output, child_end = os.pipe()
        os.set_blocking(self.output, False)
        guard = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            become_server(command, child_end, guard)
        os.close(child_end)

    def pump(self) -> bool:
        """Moves what the server printed into the log; False when it will print no more."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.output, 65536):
                self.log.write(chunk)
            return False
        return True

    def reap(self, options: int = os.WNOHANG) -> bool:
        """Whether the server has ended."""
        if self.exited is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.exited = os.waitstatus_to_exitcode(status)
        return self.exited is not None

    def kill(self) -> None:
        if not self.reap():
            os.kill(self.pid, signal.SIGKILL)
            self.reap(options=0)

    def exit_summary(self) -> str:
        """How it ended and what it said last."""
        self.pump()
        code = self.exited or 0
        how = f"exit status {code}" if code >= 0 else f"signal {-code}"
        said = self.log.tail.decode(errors="replace").strip() or "(nothing)"
        return f"the server ended with {how}; it said last:\n{said}"


def become_server(command: list[str], output: int, guard: int) -> None:
    """The forked child's way into the server; never returns."""
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        die_with(guard)
        os.execv(command[0], command)
    except OSError as error:
        os.write(2, f"cannot execute {command[0]}: {error.strerror}\n".encode(errors="replace"))
    finally:
        os._exit(127)


def die_with(guard: int) -> None:
    """Asks Linux to kill this process when the guard dies: nobody else would end it then.

    Elsewhere, and without ctypes, a guard killed by SIGKILL leaves its server behind; the lock,
    which the server holds too, still keeps a second one off the data.
    """
    if sys.platform.startswith("linux") and ctypes is not None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != guard:  # it died before we asked
        os._exit(127)


def connect(address: str, timeout: float) -> socket.socket:
    """A connection to the server, or OSError; `timeout` in seconds, 0 is non-blocking."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


class Probe:
    """Asks PING until the answer is PONG, whenever there was news from the server.

    The server listens before it has read its data, and answers -LOADING meanwhile; it prints a line
    when it is done. `again` remembers news that came while an answer was under way: that answer
    may be older than the news, and there may be no more news to come.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.connection: socket.socket | None = None
        self.asked = False
        self.again = False
        self.ready = False

    def ask(self) -> None:
        if self.asked:
            self.again = True
            return
        try:
            self.connection = self.connection or connect(self.address, timeout=0)
            self.connection.send(b"PING\r\n")
        except OSError:
            self.close()  # it does not listen yet
        else:
            self.asked, self.again = True, False

    def hear(self, connection: socket.socket) -> None:
        """An answer came, or the connection was closed."""
        reply = b""
        with contextlib.suppress(OSError):
            reply = connection.recv(4096)
        self.asked = False
        self.ready = reply.startswith(b"+PONG")
        if self.ready or not reply:
            self.close()
        elif self.again:
            self.ask()

    def close(self) -> None:
        self.asked = False
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class GuardLoop:
    def __init__(self, plan: GuardOptions, report: Report, server: Server, wakeup: int) -> None:
        self.plan = plan
        self.report = report
        self.server = server
        self.wakeup = wakeup
        self.probe = Probe(plan.address)
        self.speaking = True

    def run(self) -> None:
        """Returns when the server has ended, by itself or with its owners."""
        while not self.server.reap():
            happened = self.wait()
            if self.plan.lifeline in happened:
                return self.end()
            if not self.probe.ready:
                self.look(happened)
        return self.report.say(
            "ended" if self.probe.ready else "failed", self.server.exit_summary()
        )

    def look(self, happened: set[int]) -> None:
        """Is it ready? Asked on each news; the answer comes on a later turn."""
        connection = self.probe.connection
        if connection is not None and connection.fileno() in happened:
            self.probe.hear(connection)
        if self.probe.ready:
            self.report.say("ready", str(self.server.pid))
        elif self.server.output in happened:
            self.probe.ask()

    def wait(self, seconds: float | None = None, *, owners: bool = True) -> set[int]:
        """The fds with news; what the server said is in the log by then."""
        poller = select.poll()
        poller.register(self.wakeup, select.POLLIN)
        if owners:
            poller.register(self.plan.lifeline, select.POLLIN)
        if self.speaking:
            poller.register(self.server.output, select.POLLIN)
        if self.probe.connection is not None:
            poller.register(self.probe.connection, select.POLLIN)
        happened = {fd for fd, _ in poller.poll(None if seconds is None else seconds * 1000)}
        if self.wakeup in happened:
            os.read(self.wakeup, 4096)
        if self.server.output in happened:
            self.speaking = self.server.pump()
        return happened

    def end(self) -> None:
        """SHUTDOWN, two seconds, SIGKILL. What it acknowledged is on its disk either way.

        Without FORCE a server that is just writing its first append-only file refuses.
        """
        self.probe.close()
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        # A server that does not listen yet has nothing to save.
        with contextlib.suppress(OSError), connect(self.plan.address, SHUTDOWN_SECONDS) as asked:
            asked.sendall(b"SHUTDOWN NOSAVE NOW FORCE\r\n")
            while not self.server.reap() and (left := deadline - time.monotonic()) > 0:
                self.wait(left, owners=False)
        self.server.kill()


def take_lock(plan: GuardOptions) -> io.BufferedRandom:
    """Enters the data folder and locks it until the file is closed and the server has ended.

    The file is never removed, or two could each lock a file of that name.
    """
    os.fchdir(plan.folder)
    fd = os.open(LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        wait_for_lock(fd, plan.lock_seconds)
    os.ftruncate(fd, 0)
    os.pwrite(fd, os.fsencode(f"{plan.owner}\n{plan.address}\n"), 0)
    os.set_inheritable(fd, True)
    return os.fdopen(fd, "r+b")


def wait_for_lock(fd: int, seconds: float) -> None:
    """Blocks in flock, so that we own the folder the moment it is free; an alarm ends the wait."""
    signal.signal(signal.SIGALRM, expire)
    try:
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
        fcntl.flock(fd, fcntl.LOCK_EX)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except TimeoutError:
        raise FolderInUse(os.fsdecode(os.pread(fd, 4096, 0))) from None
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)


def expire(_signal: int, _frame: object) -> None:
    raise TimeoutError


def remove(folder: str) -> None:
    """Removes a temporary folder of ours with all that is in it, as far as that is possible."""
    with contextlib.suppress(OSError):
        for parent, folders, files in os.walk(folder, topdown=False):
            for name in files:
                os.unlink(os.path.join(parent, name))
            for name in folders:
                os.rmdir(os.path.join(parent, name))
        os.rmdir(folder)


def serve(plan: GuardOptions, report: Report, wakeup: int) -> None:
    """From the folder to the end of the server; none is left behind, whatever happens."""
    if plan.scratch:
        os.mkdir(plan.scratch, 0o700)
        os.chdir(plan.scratch)
    with contextlib.nullcontext() if plan.folder < 0 else take_lock(plan):
        server = Server(plan.command, Log())
        try:
            GuardLoop(plan, report, server, wakeup).run()
        finally:
            server.kill()
            with contextlib.suppress(OSError):  # the server removes it, unless it was killed
                os.unlink(plan.address)


def run(plan: GuardOptions, wakeup: int) -> None:
    """The whole life of the guard, told to its owner."""
    report = Report(plan.status)
    report.say("guard", str(os.getpid()))
    try:
        serve(plan, report, wakeup)
    except FolderInUse as error:
        report.say("in-use", str(error))
    except OSError as error:
        report.say("failed", str(error))
    finally:
        os.chdir("/")
        if plan.scratch:
            remove(plan.scratch)
    report.say("stopped")
    os._exit(0)


def settle_signals() -> int:
    """Ours for the whole life; returns the fd that tells of a child's end.

    The owner blocked them around our start, so that none could arrive before this. The mask is
    set, not added to: an owner that blocks everything (sigwait) would block our alarm.
    """
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, BLOCKED)
    wakeup, alarm = os.pipe()
    os.set_blocking(alarm, False)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    # Only a signal that has a handler is written to the wake-up fd.
    signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
    return wakeup


def main(arguments: list[str]) -> None:
    """Forks once more, so that the guard is no child that the owner's program could trip over."""
    wakeup = settle_signals()
    plan = GuardOptions(arguments)
    for fd in (plan.lifeline, plan.status, plan.folder):
        if fd >= 0:
            os.set_inheritable(fd, False)
    os.umask(0o077)
    if os.fork():
        os._exit(0)
    run(plan, wakeup)


if __name__ == "__main__":
    main(sys.argv[1:])
