"""The real ctl against the real program: a real socket, real kills, a real terminal."""

import contextlib
import json
import os
import pty
import re
import signal
import socket
import stat
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.pool_tasks import nap, tasks
from tests.support.supervised import PATIENCE_SECONDS, ROOT, Program, ready_pool, supervised

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

CTL = [sys.executable, "-m", "supervisor.cli", "ctl"]
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("DOCKET_")} | {
    "PYTHONPATH": str(ROOT)
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pool.sock"


def ctl(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CTL, "--control", str(path), *words],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def pool_at(
    path: Path, *arguments: str, cwd: Path = ROOT
) -> contextlib.AbstractContextManager[Program]:
    return ready_pool("--control", str(path), *arguments, cwd=cwd)


async def test_the_status_shows_the_workers_and_their_tasks(path: Path) -> None:
    with pool_at(path) as program:
        async with program.docket(tasks) as docket:
            running = await docket.add(nap, key="long-nap")(60.0)
            program.until(lambda: "long-nap" in ctl(path, "status").stdout, "never shown")
            shown = ctl(path, "status").stdout
            status = json.loads(ctl(path, "status", "--json").stdout)
            await docket.cancel(running.key)
        assert shown.startswith("docket d at memory://\nrunning, 2 of 2 workers ready, up ")
        assert status.keys() == program.status().keys()
        assert status["supervisor"]["pid"] == program.process.pid
        for pid in program.workers().values():
            assert re.search(rf"^ +\d  +{pid}  ready ", shown, re.MULTILINE)
        assert re.search(r"^ +\ds  nap +long-nap +[12]$", shown, re.MULTILINE)
        assert program.end() == 0


def test_the_pool_is_scaled_up_and_down(path: Path) -> None:
    with pool_at(path) as program:
        assert ctl(path, "scale", "4").returncode == 0
        program.until(lambda: len(program.workers()) == 4, "never four")
        assert ctl(path, "scale", "1").returncode == 0
        program.until(lambda: list(program.workers()) == [1], "never one")
        assert program.end() == 0


TASKS_MODULE = "async def task() -> int:\n    return 1\n\ntasks = [task]\n"


def test_a_reload_is_waited_for_and_code_that_does_not_import_changes_nothing(
    path: Path, tmp_path: Path
) -> None:
    module = tmp_path / "reloaded_tasks.py"
    module.write_text(TASKS_MODULE)
    arguments = ("--tasks", "reloaded_tasks:tasks")
    with pool_at(path, *arguments, cwd=tmp_path) as program:
        before = program.workers()
        good = ctl(path, "reload")
        assert (good.returncode, good.stderr) == (0, "")
        after = program.workers()
        assert set(after.values()).isdisjoint(before.values())

        module.write_text("import no_such_module_at_all\n")
        bad = ctl(path, "reload")
        assert bad.returncode == 1
        assert bad.stdout == ""
        assert "no_such_module_at_all" in bad.stderr
        assert bad.stderr.count("\n") == 1
        assert program.workers() == after
        assert "the last reload failed: " in ctl(path, "status").stdout

        module.write_text(TASKS_MODULE)
        assert ctl(path, "reload", "--no-wait").returncode == 0
        program.until(lambda: program.status()["supervisor"]["reload_error"] is None, "never good")
        assert program.end() == 0


def test_a_worker_is_replaced_by_its_slot(path: Path) -> None:
    with pool_at(path) as program:
        before = program.workers()
        assert ctl(path, "restart", "1").returncode == 0
        after = program.workers()
        assert after[1] != before[1]
        assert after[2] == before[2]
        refused = ctl(path, "restart", "9")
        assert refused.returncode == 1
        assert refused.stderr.count("\n") == 1
        assert program.end() == 0


def test_the_stacks_go_to_the_log(path: Path) -> None:
    with pool_at(path) as program:
        assert ctl(path, "dump").returncode == 0
        program.wait_for(r"where it is")
        assert program.end() == 0


async def test_a_drain_with_wait_returns_after_the_process_has_ended(
    path: Path,
) -> None:
    with pool_at(path) as program:
        async with program.docket(tasks) as docket:
            await docket.add(nap)(1.0)
            program.until(lambda: "↪" in program.log, "never started")
        drained = ctl(path, "drain", "--wait")
        assert drained.returncode == 0
        assert drained.stdout.endswith("the supervisor has ended\n")
        # It is our child, so it stays as a zombie until it is waited for: that takes no time now.
        assert program.process.wait(0) == 0
        assert "↩" in program.log
        assert ctl(path, "status").returncode == 2


# The control socket.


def test_the_socket_is_private_logged_not_inherited_and_removed_at_the_end(
    tmp_path: Path,
) -> None:
    with ready_pool(environment={"XDG_RUNTIME_DIR": str(tmp_path)}) as program:
        path = Path(program.wait_for(r"control socket: (\S+)")[1])
        assert path == tmp_path / f"d-{program.process.pid}.sock"
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        lock = path.with_name(path.name + ".lock")
        children = program.family()
        assert len(children) == 3
        for each in children:
            assert str(lock) not in [file.path for file in each.open_files()]
            assert str(path) not in [link.laddr for link in each.net_connections("unix")]
        mine = psutil.Process(program.process.pid)
        assert str(lock) in [file.path for file in mine.open_files()]
        assert program.end() == 0
    assert list(tmp_path.iterdir()) == []


def test_a_second_supervisor_at_the_same_path_ends_with_3_and_the_first_goes_on(
    path: Path,
) -> None:
    with pool_at(path) as first:
        with supervised("--control", str(path)) as second:
            assert second.code() == 3
            (line,) = second.lines
            assert line.startswith(
                f"docket-supervisor: --control: another supervisor is running at {path}; end it"
            )
        assert ctl(path, "status").returncode == 0
        assert first.end() == 0


def test_the_socket_of_a_killed_supervisor_is_replaced_by_the_next(path: Path) -> None:
    with pool_at(path) as killed:
        killed.send(signal.SIGKILL)
        killed.process.wait(PATIENCE_SECONDS)
        assert path.exists()
        gone = ctl(path, "status")
        assert (gone.returncode, gone.stderr.count("\n")) == (2, 1)
        with pool_at(path) as program:
            assert ctl(path, "status").returncode == 0
            assert program.end() == 0


def test_a_file_that_is_no_socket_is_not_replaced_and_ends_the_start_with_2(path: Path) -> None:
    path.write_text("precious")
    with supervised("--control", str(path)) as program:
        assert program.code() == 2
        (line,) = program.lines
        assert line.endswith(f"cannot listen at {path}: there is something that is no socket")
        assert program.family() == []
    assert path.read_text() == "precious"


def send_garbage(path: Path, garbage: bytes) -> None:
    """Send the bytes, and read until the other end has closed."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))
        with contextlib.suppress(ConnectionError):
            caller.sendall(garbage)
        with contextlib.suppress(ConnectionError):
            while caller.recv(1 << 16):
                pass


def test_garbage_on_the_socket_does_the_pool_no_harm(path: Path) -> None:
    with pool_at(path) as program:
        before = program.workers()
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(1 << 16)):
            send_garbage(path, garbage)
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))
            caller.sendall(b"\x00\x00\x00\x09half")
        program.wait_for(r"WARNING supervisor\.control: control socket: a client \(pid \d+, uid")
        assert ctl(path, "status").returncode == 0
        assert program.workers() == before
        assert program.end() == 0


# A terminal.


class Terminal:
    """A run of ctl on a terminal of 100 columns and 24 lines."""

    def __init__(self, *words: str) -> None:
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [*CTL, *words], ENVIRONMENT | {"TERM": "xterm"})
        termios.tcsetwinsize(self._master, (24, 100))
        self.written = ""

    def read_until(self, text: str) -> None:
        """Read until this was written once more."""
        seen = len(self.written)
        while text not in self.written[seen:]:
            self.written += os.read(self._master, 1 << 16).decode()

    def read_rest(self) -> int:
        """Read until its end; the exit code."""
        try:
            while chunk := os.read(self._master, 1 << 16):
                self.written += chunk.decode()
        except OSError:
            pass  # the last program that had the terminal has ended
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def close(self) -> None:
        os.close(self._master)


@contextmanager
def terminal(*words: str) -> Iterator[Terminal]:
    opened = Terminal(*words)
    try:
        yield opened
    finally:
        opened.close()


def test_watching_on_a_terminal_redraws_in_place_in_colour_until_ctrl_c(path: Path) -> None:
    with (
        pool_at(path) as program,
        terminal("--control", str(path), "status", "--watch") as screen,
    ):
        for _ in range(3):
            screen.read_until("nothing is running")
        assert "\x1b[32mready\x1b[0m" in screen.written
        assert re.search(r"\x1b\[\d+A\r", screen.written)
        screen.type("\x03")
        assert screen.read_rest() == 0
        assert "Traceback" not in screen.written
        assert program.end() == 0


def test_watching_on_a_terminal_ends_by_itself_when_the_supervisor_does(path: Path) -> None:
    with (
        pool_at(path) as program,
        terminal("--control", str(path), "status", "--watch") as screen,
    ):
        screen.read_until("nothing is running")
        assert program.end() == 0
        assert screen.read_rest() == 0
        assert screen.written.endswith("the supervisor has ended\r\n")
