"""Runs of `docket-supervisor demo`, in a pipe or on a terminal."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
#: For a loaded machine; on a quiet one the longest run takes a tenth of it.
PATIENCE_SECONDS = 110.0
PROGRAM = "from supervisor.cli.program import main; main()"
#: Makes the terminal that of the program, as a shell does, so that Ctrl-C reaches it.
TAKE_TERMINAL = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"


@dataclass(frozen=True)
class Ended:
    """The end of a run: its exit code, its output, and the processes and files left over."""

    code: int
    out: str
    err: str
    left: list[str]

    @property
    def table(self) -> dict[str, str]:
        """The rows of the plain table at the end."""
        rows = [line.strip("| ").partition("|") for line in self.out.splitlines() if "|" in line]
        return {name.strip(): value.strip() for name, _, value in rows}


class Demonstration:
    """A run in a pipe.

    Arguments:
        first: Python that is executed before the program.
        cwd: where it is started.
    """

    def __init__(
        self, *arguments: str, first: str = "", cwd: Path = ROOT, **environment: str
    ) -> None:
        self._scratch = tempfile.mkdtemp(prefix="demo-")
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"{first}\n{PROGRAM}", "demo", *arguments],
            cwd=cwd,
            env=_environment(self._scratch) | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, text: str) -> str:
        """The next line that has `text` in it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if text in line:
                return line
        raise AssertionError(f"never printed {text!r}")

    def family(self) -> list[psutil.Process]:
        """The live processes of the run."""
        return _running_with(self._scratch)

    def ended(self) -> Ended:
        """Wait for its end."""
        out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        return Ended(self.process.returncode, out, err, self.left())

    def left(self) -> list[str]:
        """The processes and files that are left a while after its end."""
        return _left_in(self._scratch)


@contextmanager
def demonstration(
    *arguments: str, first: str = "", cwd: Path = ROOT, **environment: str
) -> Iterator[Demonstration]:
    """A run that is ended with the block, whatever happens in it."""
    run = Demonstration(*arguments, first=first, cwd=cwd, **environment)
    with run.process:
        try:
            yield run
        finally:
            for each in run.family():
                with suppress(psutil.NoSuchProcess):
                    each.kill()


def demonstrate(*arguments: str, first: str = "", cwd: Path = ROOT, **environment: str) -> Ended:
    """A run from its start to its end."""
    with demonstration(*arguments, first=first, cwd=cwd, **environment) as run:
        return run.ended()


def demonstrate_on_a_terminal(*arguments: str, interrupt_at: str | None = None) -> Ended:
    """A run on a terminal of 80 columns; Ctrl-C is typed as soon as it shows `interrupt_at`."""
    scratch = tempfile.mkdtemp(prefix="demo-")
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-P", "-c", f"{TAKE_TERMINAL}\n{PROGRAM}", "demo", *arguments]
    environment = _environment(scratch) | {"TERM": "xterm-256color"}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    ) as process:
        os.close(its)
        # Whatever hangs is killed, and then the terminal has an end to read to.
        overdue = threading.Timer(PATIENCE_SECONDS, process.kill)
        overdue.start()
        out = _read(ours, interrupt_at)
        overdue.cancel()
    return Ended(process.returncode, out, "", _left_in(scratch))


def _read(terminal: int, interrupt_at: str | None) -> str:
    shown = b""
    with suppress(OSError):  # EIO: nobody has it open any more
        while chunk := os.read(terminal, 65536):
            shown += chunk
            if interrupt_at is not None and interrupt_at.encode() in shown:
                interrupt_at = None
                os.write(terminal, b"\x03")
    os.close(terminal)
    return shown.decode()


def _environment(scratch: str) -> dict[str, str]:
    left_out = ("DOCKET_", "COLUMNS", "FORCE_COLOR", "NO_COLOR")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    return inherited | {"PYTHONPATH": str(ROOT), "TMPDIR": scratch}


def _running_with(scratch: str) -> list[psutil.Process]:
    """The live processes of the run that has this folder for its temporary files.

    All inherit it in their environment; the server, whose title overwrites that, shows it there.
    """
    return [each for each in psutil.process_iter() if _has(each, scratch)]


def _has(process: psutil.Process, scratch: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        shown = process.cmdline()
        return any(scratch in word for word in (*shown, process.environ().get("TMPDIR", "")))
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _left_in(scratch: str, seconds: float = 10.0) -> list[str]:
    """The processes and temporary files that are left of a run after so long."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        left = [repr(each) for each in _running_with(scratch)]
        left += [str(each) for each in Path(scratch).iterdir()]
        if not left:
            Path(scratch).rmdir()
            return []
        if time.monotonic() > deadline:
            return left
        pause.wait(0.05)


def kill_server(run: Demonstration) -> None:
    """SIGKILL the embedded server of a run."""
    (server,) = [each for each in run.family() if each.name() == "valkey-server"]
    server.send_signal(signal.SIGKILL)
