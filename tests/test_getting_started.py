"""docs/getting-started.md works as it is pasted, from its first step to its last."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stress.ports import free_port
from tests.support import pool
from tests.support.documents import ROOT, Block, blocks

PAGE = ROOT / "docs/getting-started.md"
#: Where the page has the pool keep its data.
FOLDER = "/tmp/greetings"
PROGRAMS = {
    "python": [sys.executable],
    "docket": [sys.executable, "-m", "docket"],
    "docket-supervisor": [*pool.PROGRAM],
}

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]


class Reader:
    """Somebody who pastes one step after the other, in a folder of their own."""

    def __init__(self, home: Path, pools: contextlib.ExitStack) -> None:
        self._home = home
        self._data = home / "data"
        self._data.mkdir()
        self._pools = pools
        # No other pool of this machine, so that `ctl` finds the one of the page.
        self._environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{home}",
            "DOCKET_SUPERVISOR_CONTROL": str(home / "control.sock"),
        }

    def save(self, block: Block) -> None:
        (self._home / block.filename).write_text(self._here(block.text), "utf-8")

    def paste(self, command: str) -> str:
        """Run a command to its end, or start the pool and leave it running; what it printed."""
        program, *words = shlex.split(self._here(command))
        whole = [*PROGRAMS[program], *words]
        if "--tasks" in words:
            self._pools.enter_context(pool.ready_pool(whole, self._home, self._environment))
            return ""
        run = subprocess.run(
            whole,
            cwd=self._home,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, f"{command}: {run.stdout}{run.stderr}"
        return run.stdout

    def _here(self, text: str) -> str:
        return text.replace(FOLDER, str(self._data))


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with contextlib.ExitStack() as pools:
        yield Reader(tmp_path, pools)


def _steps() -> list[Block]:
    """Every block of the numbered steps, in the order of the page."""
    end = PAGE.read_text("utf-8").partition("\n## More")[0].count("\n")
    of_all = [block for language in ("python", "sh", "text") for block in blocks(PAGE, language)]
    return sorted((block for block in of_all if block.line <= end), key=lambda block: block.line)


def test_every_step_does_what_the_page_says(reader: Reader) -> None:
    printed = ""
    for block in _steps():
        match block.language:
            case "python":
                reader.save(block)
            case "text":
                assert printed == block.text
            case _:
                for command in block.text.splitlines():
                    if not command.startswith("python -m pip"):
                        printed = reader.paste(command)

    # The last step shows the pool, whose worker was killed once, and an empty docket.
    status = reader.paste("docket-supervisor ctl status")
    assert "2 of 2 workers ready" in status
    assert re.search(r"0/\d+ running", printed) or "0 running" in printed


def test_every_program_of_the_steps_is_saved_before_it_is_run() -> None:
    saved: list[str] = []
    for block in _steps():
        if block.language == "python":
            saved.append(block.filename)
        for script in re.findall(r"^python (\w+\.py)$", block.text, re.MULTILINE):
            assert script in saved


def test_the_pool_stops_by_the_signal_that_ctrl_c_sends(tmp_path: Path) -> None:
    greetings = next(block for block in _steps() if block.filename == "greetings.py")
    (tmp_path / "greetings.py").write_text(greetings.text, "utf-8")
    options = ["--docket", "greetings", "--tasks", "greetings:tasks", "--url", "memory://"]
    port = free_port()
    command = [*pool.PROGRAM, *options, "--processes", "1", "--http", f"127.0.0.1:{port}"]
    with pool.running(command, tmp_path, {**os.environ, "PYTHONPATH": str(ROOT)}) as started:
        pool.wait_until_ready(started, f"http://127.0.0.1:{port}/readyz")
        started.send_signal(signal.SIGINT)
        printed, _ = started.communicate(timeout=pool.STOP_SECONDS)

    assert started.returncode == 0, printed
