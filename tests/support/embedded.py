"""Embedded servers seen from outside: their processes, and owners to be killed."""

import contextlib
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import coverage
import psutil
import pytest

from docket.store.embedded import embedded_server

#: Nothing here takes a second; this is where a test that hangs ends.
PATIENCE_SECONDS = 20.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: pytest's own leave no room for the name of a socket."""
    path = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where guards make their temporary folders in this test: empty, and nobody else's."""
    path = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield path
    shutil.rmtree(path)


#: Coverage knows a module by its name, and without site packages there is no coverage at all.
_MEASURED = "import sys; from docket.store.embedded import guard; guard.main(sys.argv[2:])"


@pytest.fixture
def measured_guards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets coverage into the guards, if it is at work: they start slower, that is all."""
    if coverage.Coverage.current() is not None:
        monkeypatch.setattr(embedded_server, "INTERPRETER_FLAGS", ("-P", "-c", _MEASURED))


def processes_of(marker: Path | str) -> list[psutil.Process]:
    """Guards and servers whose command line names `marker`, a folder or a part of its path."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if any(str(marker) in word for word in process.cmdline()):
                found.append(process)
    return [process for process in found if process.pid != os.getpid()]


def await_end(pid: int) -> None:
    """Returns when the process has ended, reaped or not; fails after PATIENCE_SECONDS.

    By pidfd where there is one: whoever adopts an orphan may take seconds to reap it.
    """
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
        if sys.platform != "linux":
            psutil.Process(pid).wait(PATIENCE_SECONDS)
            return
        descriptor = os.pidfd_open(pid)
        try:
            assert readable(descriptor), f"process {pid} did not end"
        finally:
            os.close(descriptor)


def await_no_process_of(marker: Path | str) -> None:
    """Returns when no process is left that names `marker` in its command line.

    Looks twice: a guard that forks itself off while we look was in no list yet, and the process it
    came from may be gone when we ask for its name.
    """
    empty_looks = 0
    while empty_looks < 2:
        processes = processes_of(marker)
        empty_looks = 0 if processes else empty_looks + 1
        for process in processes:
            await_end(process.pid)


def readable(fd: int) -> bool:
    """Whether `fd` has news within PATIENCE_SECONDS."""
    return bool(select.select([fd], [], [], PATIENCE_SECONDS)[0])


@dataclass
class Owner:
    """Another process that owns a server. `folder`, `url`, `pid`: the server's."""

    process: subprocess.Popen[str]
    url: str
    pid: int
    folder: Path

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


_OWNER = """
import sys
from docket.store.embedded import embedded_server
server = embedded_server.start(sys.argv[1])
print(server.url, server.pid, server.folder, sep="\\n", flush=True)
{then}
sys.stdin.read()
"""


def run_owner(url: str, then: str = "") -> subprocess.Popen[str]:
    """A process that starts `url`, tells three lines of it, runs `then`, waits for its stdin."""
    return subprocess.Popen(
        [sys.executable, "-c", _OWNER.format(then=then), url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@contextlib.contextmanager
def owner_of(url: str, then: str = "") -> Iterator[Owner]:
    """`run_owner`, its server ready; killed at the end, and its server with it."""
    process = run_owner(url, then)
    assert process.stdout is not None
    lines = [process.stdout.readline().strip() for _ in range(3)]
    owner = Owner(process, lines[0], int(lines[1]), Path(lines[2]))
    try:
        yield owner
    finally:
        owner.close()
        await_end(owner.pid)
