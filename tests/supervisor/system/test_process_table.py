"""Other processes as the system shows them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.system import process_table
from supervisor.system.process_table import ObservedProcess

#: More than any system gives out.
NOBODY = 2**22 + 1


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A child with brackets in its name, as whoever parses its line in /proc must expect."""
    program = tmp_path / "a) Z 7 ("
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as process:
        yield process
        process.kill()


def test_a_process_has_the_parent_that_started_it(sleeper: subprocess.Popen[bytes]) -> None:
    assert process_table.parent_of(sleeper.pid) == os.getpid()
    assert process_table.parent_of(NOBODY) is None


def test_a_process_is_stopped_from_its_stop_until_it_goes_on(
    sleeper: subprocess.Popen[bytes],
) -> None:
    sleeper.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, sleeper.pid, os.WSTOPPED)
    assert process_table.is_stopped(sleeper.pid)

    sleeper.send_signal(signal.SIGCONT)
    os.waitid(os.P_PID, sleeper.pid, os.WCONTINUED)
    assert not process_table.is_stopped(sleeper.pid)
    assert not process_table.is_stopped(NOBODY)


def test_cpu_and_descriptors_are_those_of_the_process() -> None:
    ours = ObservedProcess(os.getpid())
    before = ours.descriptors()
    with Path(os.devnull).open("rb"):
        assert ours.descriptors() == before + 1
    used = sum(os.times()[:2])
    assert ours.cpu_seconds() == pytest.approx(used, abs=0.1)


def test_a_process_that_is_gone_cannot_be_observed(sleeper: subprocess.Popen[bytes]) -> None:
    observed = ObservedProcess(sleeper.pid)
    sleeper.kill()
    sleeper.wait(10)

    for look in (observed.cpu_seconds, observed.descriptors):
        with pytest.raises(OSError, match=rf"{sleeper.pid}|No such process"):
            look()
    with pytest.raises(OSError, match=rf"{NOBODY}"):
        ObservedProcess(NOBODY)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere psutil sees to that")
def test_a_process_that_got_the_number_of_another_is_not_taken_for_it(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    observed = ObservedProcess(sleeper.pid)
    fields = vars(process_table)["_stat"](sleeper.pid)
    # The kernel gives a number out again only after all others.
    younger = [*fields[:19], fields[19] + b"1", *fields[20:]]
    monkeypatch.setattr(process_table, "_stat", lambda _: younger)  # pyright: ignore[reportUnknownLambdaType]

    for look in (observed.cpu_seconds, observed.descriptors):
        with pytest.raises(ProcessLookupError, match="another one by now"):
            look()
