"""The guard of an embedded server: starts it, monitors it, and ends it with its last owner.

Executed by `docket.store.embedded.embedded_server` as `python -I -S guard.py ...`: it imports only
the standard library, and little of that, since imports delay every start. It is a separate process
because a process killed with SIGKILL cannot clean up, and because a signal to the owner's group
must not end the server before the owner has drained.

    lifeline   the guard holds the read end, owners hold the write ends. EOF: the last owner is
               gone, however it died. A byte: the starter wants the end now, even with other owners.
    status     one line for each message to the starter: a word, a tab, an escaped text. It is the
               guard's stderr too, so a traceback arrives there as it is.
    output     the output of the server. It is written to the log, and each new piece makes the
               guard probe the server again: there is no polling interval.
"""

# Importing pathlib alone would add 10 ms to every start:
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

#: Blocked in the guard and in the server: the drain decides when the server ends, not a signal.
BLOCKED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
#: Also ignored in the guard, and by inheritance in the server unless it has its own handlers.
IGNORED = (*BLOCKED, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP, signal.SIGPIPE, signal.SIGALRM)
#: Time between SHUTDOWN and SIGKILL.
SHUTDOWN_SECONDS = 2.0
LOCK_FILE = "docket.lock"
LOG_FILE = "server.log"
#: The log is truncated beyond this size.
LOG_BYTES = 1 << 20
#: Amount of the server's last output that an error shows.
TAIL_BYTES = 4096
PR_SET_PDEATHSIG = 1


class FolderInUse(Exception):
    """Another guard holds the folder; the text is the content of its lock file."""


class GuardOptions:
    """The options of the owner: the command line, in this order.

    `folder` is a descriptor of the data folder (-1: no data is kept), `scratch` the path of a
    temporary folder for the guard to make and remove ("": not needed).
    """

    def __init__(self, arguments: list[str]) -> None:
        self.lifeline, self.status, self.folder = map(int, arguments[:3])
        self.scratch, self.address, self.owner = arguments[3:6]
        self.lock_seconds = float(arguments[6])
        self.command = arguments[7:]


class Report:
    """The write end of the status pipe. The lifeline, not this pipe, shows a reader's death."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def say(self, word: str, text: str = "") -> None:
        line = word.encode() + b"\t" + text.encode("unicode_escape") + b"\n"
        with contextlib.suppress(BrokenPipeError):
            os.write(self.fd, line)


class Log:
    """The server's output: a file of bounded size, and its tail in memory.

    Written by the guard and not by the server, so that a full disk costs only log lines.
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
    """The server process, the guard's only child."""

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
        """Copy the server's output into the log; False at its end."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.output, 65536):
                self.log.write(chunk)
            return False
        return True

    def reap(self, options: int = os.WNOHANG) -> bool:
        """Reap the server and return whether it has ended."""
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
        """Return its exit status or signal, and its last output."""
        self.pump()
        code = self.exited or 0
        how = f"exit status {code}" if code >= 0 else f"signal {-code}"
        said = self.log.tail.decode(errors="replace").strip() or "(nothing)"
        return f"the server ended with {how}; it said last:\n{said}"


def become_server(command: list[str], output: int, guard: int) -> None:
    """Execute the server in the forked child; never returns."""
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
    """Have Linux kill this process when the guard dies, since nothing else would.

    Elsewhere, and without ctypes, a guard killed by SIGKILL leaves its server behind; the lock,
    which the server holds too, still keeps a second one from the data.
    """
    if sys.platform.startswith("linux") and ctypes is not None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != guard:  # it had already died
        os._exit(127)


def connect(address: str, timeout: float) -> socket.socket:
    """Connect to the server, or raise OSError; `timeout` in seconds, 0 is non-blocking."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


class Probe:
    """A probe that sends PING after each output of the server until the answer is PONG.

    The server listens before it has read its data, and answers -LOADING meanwhile; it prints a line
    when it is done. `again` records output that arrived during a probe: the answer may be older
    than that output, and there may be no more output.
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
            self.close()  # not listening yet
        else:
            self.asked, self.again = True, False

    def hear(self, connection: socket.socket) -> None:
        """Handle an answer, or the end of the connection."""
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
    def __init__(self, options: GuardOptions, report: Report, server: Server, wakeup: int) -> None:
        self.options = options
        self.report = report
        self.server = server
        self.wakeup = wakeup
        self.probe = Probe(options.address)
        self.speaking = True

    def run(self) -> None:
        """Run until the server has ended, by itself or with its owners."""
        while not self.server.reap():
            happened = self.wait()
            if self.options.lifeline in happened:
                return self.shut_down()
            if not self.probe.ready:
                self.look(happened)
        return self.report.say(
            "ended" if self.probe.ready else "failed", self.server.exit_summary()
        )

    def look(self, happened: set[int]) -> None:
        """Probe the server after each event; the answer comes in a later turn."""
        connection = self.probe.connection
        if connection is not None and connection.fileno() in happened:
            self.probe.hear(connection)
        if self.probe.ready:
            self.report.say("ready", str(self.server.pid))
        elif self.server.output in happened:
            self.probe.ask()

    def wait(self, seconds: float | None = None, *, owners: bool = True) -> set[int]:
        """Wait for events and return their descriptors, with the server's output already logged."""
        poller = select.poll()
        poller.register(self.wakeup, select.POLLIN)
        if owners:
            poller.register(self.options.lifeline, select.POLLIN)
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

    def shut_down(self) -> None:
        """Shut the server down, by SIGKILL after two seconds. Acknowledged writes are on disk.

        Without FORCE, a server that is writing its first append-only file refuses.
        """
        self.probe.close()
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        # A server that is not listening yet has nothing to save.
        with contextlib.suppress(OSError), connect(self.options.address, SHUTDOWN_SECONDS) as asked:
            asked.sendall(b"SHUTDOWN NOSAVE NOW FORCE\r\n")
            while not self.server.reap() and (left := deadline - time.monotonic()) > 0:
                self.wait(left, owners=False)
        self.server.kill()


def take_lock(options: GuardOptions) -> io.BufferedRandom:
    """Enter the data folder and lock it until the file is closed and the server has ended.

    The file is never removed: otherwise two guards could each lock a file of that name.
    """
    os.fchdir(options.folder)
    fd = os.open(LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        wait_for_lock(fd, options.lock_seconds)
    os.ftruncate(fd, 0)
    os.pwrite(fd, os.fsencode(f"{options.owner}\n{options.address}\n"), 0)
    os.set_inheritable(fd, True)
    return os.fdopen(fd, "r+b")


def wait_for_lock(fd: int, seconds: float) -> None:
    """Wait in flock, to own the folder as soon as it is free; an alarm ends the wait."""
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
    """Remove the temporary folder with its content, as far as possible."""
    with contextlib.suppress(OSError):
        for parent, folders, files in os.walk(folder, topdown=False):
            for name in files:
                os.unlink(os.path.join(parent, name))
            for name in folders:
                os.rmdir(os.path.join(parent, name))
        os.rmdir(folder)


def serve(options: GuardOptions, report: Report, wakeup: int) -> None:
    """Lock the folder, run the server to its end, and leave nothing behind, whatever happens."""
    if options.scratch:
        os.mkdir(options.scratch, 0o700)
        os.chdir(options.scratch)
    with contextlib.nullcontext() if options.folder < 0 else take_lock(options):
        server = Server(options.command, Log())
        try:
            GuardLoop(options, report, server, wakeup).run()
        finally:
            server.kill()
            with contextlib.suppress(OSError):  # the server removes it, unless it was killed
                os.unlink(options.address)


def run(options: GuardOptions, wakeup: int) -> None:
    """Run the guard from start to end, reporting to its owner."""
    report = Report(options.status)
    report.say("guard", str(os.getpid()))
    try:
        serve(options, report, wakeup)
    except FolderInUse as error:
        report.say("in-use", str(error))
    except OSError as error:
        report.say("failed", str(error))
    finally:
        os.chdir("/")
        if options.scratch:
            remove(options.scratch)
    report.say("stopped")
    os._exit(0)


def set_up_signals() -> int:
    """Set up the signals; return the descriptor that becomes readable when a child ends.

    The owner blocked them while starting the guard, so that none could arrive earlier. The mask is
    replaced, not extended: an owner that blocks everything (sigwait) would block the alarm here.
    """
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, BLOCKED)
    wakeup, alarm = os.pipe()
    os.set_blocking(alarm, False)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    # Only a signal with a handler is written to the wake-up fd.
    signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
    return wakeup


def main(arguments: list[str]) -> None:
    """Fork again, so that the guard is not a child that the owner's program could wait for."""
    wakeup = set_up_signals()
    options = GuardOptions(arguments)
    for fd in (options.lifeline, options.status, options.folder):
        if fd >= 0:
            os.set_inheritable(fd, False)
    os.umask(0o077)
    if os.fork():
        os._exit(0)
    run(options, wakeup)


if __name__ == "__main__":
    main(sys.argv[1:])
