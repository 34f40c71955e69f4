"""Runs of `docket-supervisor demo` as a person starts them: in a pipe, or on a terminal."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psutil

ROOT = Path(__file__).parents[2]
#: For a loaded machine; on a quiet one the longest run takes a tenth of it.
PATIENCE_SECONDS = 110.0
#: In the environment of all processes of a run, server and guard included.
MARK = "DEMONSTRATION"
PROGRAM = "from supervisor.cli import main; main()"
#: What a shell does for a program on its terminal, so that Ctrl-C is for it.
TAKE_TERMINAL = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"


@dataclass(frozen=True)
class Ended:
    """How a run ended, what it had printed, and what it left running."""

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
    """

    def __init__(self, *arguments: str, first: str = "", **environment: str) -> None:
        self._mark = uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{first}\n{PROGRAM}", "demo", *arguments],
            cwd=ROOT,
            env=_environment(self._mark) | environment,
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
        raise AssertionError(f"never said {text!r}")

    def family(self) -> list[psutil.Process]:
        """Every process of the run that still is there."""
        return marked(self._mark)

    def ended(self) -> Ended:
        """Wait for its end."""
        out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        return Ended(self.process.returncode, out, err, left_by(self._mark))


@contextmanager
def demonstration(*arguments: str, first: str = "", **environment: str) -> Iterator[Demonstration]:
    """A run that is ended with the block, whatever happens in it."""
    run = Demonstration(*arguments, first=first, **environment)
    with run.process:
        try:
            yield run
        finally:
            for each in run.family():
                with suppress(psutil.NoSuchProcess):
                    each.kill()


def demonstrate(*arguments: str, first: str = "", **environment: str) -> Ended:
    """A run from its start to its end."""
    with demonstration(*arguments, first=first, **environment) as run:
        return run.ended()


def demonstrate_on_a_terminal(*arguments: str, interrupt_at: str | None = None) -> Ended:
    """A run on a terminal of 80 columns; Ctrl-C is typed as soon as it shows `interrupt_at`."""
    mark = uuid4().hex
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-c", f"{TAKE_TERMINAL}\n{PROGRAM}", "demo", *arguments]
    environment = _environment(mark) | {"TERM": "xterm-256color"}
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
    return Ended(process.returncode, out, "", left_by(mark))


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


def _environment(mark: str) -> dict[str, str]:
    left_out = ("DOCKET_", "COLUMNS", "FORCE_COLOR", "NO_COLOR")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    return inherited | {"PYTHONPATH": str(ROOT), MARK: mark}


def marked(mark: str) -> list[psutil.Process]:
    """The live processes of a run."""
    return [each for each in psutil.process_iter() if _has_mark(each, mark)]


def _has_mark(process: psutil.Process, mark: str) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def left_by(mark: str, seconds: float = 10.0) -> list[str]:
    """What of a run still is there when it had so long to go; empty as soon as nothing is."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while (left := marked(mark)) and time.monotonic() < deadline:
        pause.wait(0.05)
    return [repr(each) for each in left]


def kill_server(run: Demonstration) -> None:
    """SIGKILL the embedded server of a run."""
    (server,) = [each for each in run.family() if each.name() == "valkey-server"]
    server.send_signal(signal.SIGKILL)
