"""The guard of orphaned workers, with forks in the place of workers."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from supervisor.child import orphan_guard
from supervisor.processes.guard_link import GuardLink, guarded
from supervisor.system.prctl import become_subreaper
from tests.support.processes import fork
from tests.support.servers import until

ASLEEP = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)"


class Guarded:
    """A guard with times of its own, and processes that it watches."""

    def __init__(self, orphan_seconds: float) -> None:
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = [orphan_guard.__file__, str(theirs.fileno()), str(orphan_seconds), "0.2"]
        with theirs:
            subprocess.run(
                [sys.executable, "-I", "-S", *words], pass_fds=(theirs.fileno(),), check=True
            )
        self.process = psutil.Process(int(self.sock.recv(64)))
        self.link = GuardLink(self.sock)
        self.workers: list[subprocess.Popen[str]] = []

    def worker(
        self, source: str = ASLEEP, stdin: int | None = None, stdout: int | None = None
    ) -> "subprocess.Popen[str]":
        """A process in a group of its own, watched."""
        made = subprocess.Popen(
            [sys.executable, "-c", source], process_group=0, stdin=stdin, stdout=stdout, text=True
        )
        pidfd = os.pidfd_open(made.pid)
        self.link.watch(made.pid, pidfd)
        os.close(pidfd)
        self.workers.append(made)
        return made

    def close(self) -> None:
        self.sock.close()
        for each in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(each.pid, signal.SIGKILL)
            each.wait()
            for stream in (each.stdin, each.stdout):
                if stream is not None:
                    stream.close()


@pytest.fixture
def guard() -> Iterator[Guarded]:
    made = Guarded(0.3)
    yield made
    made.close()


@pytest.fixture
def patient_guard() -> Iterator[Guarded]:
    """One that kills no orphan while the test goes on."""
    made = Guarded(600.0)
    yield made
    made.close()


def ends(process: psutil.Process) -> None:
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "its end")


def test_orphans_are_killed_when_their_time_is_over_and_the_guard_ends_after_them(
    guard: Guarded,
) -> None:
    workers = [guard.worker(), guard.worker()]
    guard.sock.close()
    began = time.monotonic()
    assert [each.wait(20) for each in workers] == [-signal.SIGKILL] * 2
    assert time.monotonic() - began > 0.2
    ends(guard.process)


def test_a_stopped_orphan_is_killed_too(guard: Guarded) -> None:
    worker = guard.worker()
    worker.send_signal(signal.SIGSTOP)
    guard.sock.close()
    assert worker.wait(20) == -signal.SIGKILL


def leaves_a_process(guard: Guarded) -> tuple["subprocess.Popen[str]", psutil.Process]:
    """A worker that ends with its stdin and leaves a process in its group."""
    source = (
        f"import subprocess, sys\nwords = [sys.executable, '-c', {ASLEEP!r}]\n"
        "print(subprocess.Popen(words, stdout=2).pid, flush=True)\ninput()"
    )
    worker = guard.worker(source, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdout is not None
    return worker, psutil.Process(int(worker.stdout.readline()))


def test_what_an_orphan_leaves_in_its_group_is_ended_after_its_own_end(
    patient_guard: Guarded,
) -> None:
    worker, left = leaves_a_process(patient_guard)
    patient_guard.sock.close()
    worker.communicate("\n", timeout=20)
    ends(left)


def test_a_worker_that_is_seen_to_end_with_its_supervisor_is_an_orphan(
    patient_guard: Guarded,
) -> None:
    worker, left = leaves_a_process(patient_guard)
    patient_guard.process.suspend()  # sees both at once when it goes on
    until(lambda: patient_guard.process.status() == psutil.STATUS_STOPPED, "its stop")
    patient_guard.sock.close()
    worker.communicate("\n", timeout=20)
    patient_guard.process.resume()
    ends(left)


def test_a_worker_that_ends_under_its_supervisor_is_left_to_it(guard: Guarded) -> None:
    worker = guard.worker("")
    assert worker.wait(20) == 0
    other = guard.worker()
    guard.process.send_signal(signal.SIGTERM)  # meant for the supervisor
    assert guard.process.is_running()
    assert other.poll() is None


def test_a_guard_that_was_killed_costs_a_warning(
    guard: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    guard.process.kill()
    ends(guard.process)
    guard.worker()
    guard.worker()
    assert caplog.text.count("the guard of orphaned workers is gone") == 1


def test_an_orderly_end_waits_for_that_of_the_guard() -> None:
    before = {each.pid for each in psutil.process_iter()}
    with guarded(600.0):
        made = [
            each
            for each in psutil.process_iter(["cmdline"])
            if each.pid not in before and "609.0" in (each.info["cmdline"] or [])
        ]
        assert len(made) == 1
    ends(made[0])


def test_a_guard_that_a_subreaper_adopts_is_reaped_at_the_end() -> None:
    def check() -> bool:
        become_subreaper()
        with guarded(1.0):
            (guard,) = psutil.Process().children()
        return not guard.is_running() and psutil.Process().children() == []

    pid = fork()
    if pid == 0:
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_without_room_for_a_guard_the_pool_runs_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(subprocess, "run", no_room)
    with guarded(1.0) as link:
        link.watch(os.getpid(), 0)
    assert "there is no guard of orphaned workers" in caplog.text
