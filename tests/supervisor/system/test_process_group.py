"""The process group of a worker, as the system shows it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from supervisor.system import process_group

SLEEP = [sys.executable, "-c", "import signal; print(1, flush=True); signal.pause()"]


@pytest.fixture
def leader() -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a group of its own."""
    process = subprocess.Popen(SLEEP, process_group=0, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    with process:
        yield process
        process.kill()


def test_the_members_of_a_group_are_its_live_processes(leader: subprocess.Popen[bytes]) -> None:
    assert process_group.members(leader.pid) == [leader.pid]

    leader.kill()
    os.waitid(os.P_PID, leader.pid, os.WEXITED | os.WNOWAIT)

    assert process_group.members(leader.pid) == [], "a zombie is none"


def test_a_member_with_a_bracket_in_its_name_lives(tmp_path: Path) -> None:
    program = tmp_path / "a) Z ("
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"], process_group=0) as process:
        assert process_group.members(process.pid) == [process.pid]
        process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere psutil looks")
def test_a_member_that_may_not_be_looked_into_lives(
    leader: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> NoReturn:
        raise PermissionError

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert process_group.members(leader.pid) == [leader.pid]


def test_a_signal_reaches_the_group(leader: subprocess.Popen[bytes]) -> None:
    process_group.signal_group(leader.pid, signal.SIGTERM)

    assert leader.wait(10) == -signal.SIGTERM


def test_signalling_a_group_that_is_gone_does_nothing(leader: subprocess.Popen[bytes]) -> None:
    leader.kill()
    leader.wait(10)

    process_group.signal_group(leader.pid, signal.SIGTERM)


def test_a_process_that_has_ended_is_not_watched(leader: subprocess.Popen[bytes]) -> None:
    [pidfd] = process_group.watch([leader.pid])
    os.close(pidfd)
    leader.kill()
    leader.wait(10)

    assert process_group.watch([leader.pid]) == []
