"""CPU and descriptors of real processes, by a clock that the test moves."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from supervisor.pool.state.process_control import ProcessUsage
from supervisor.processes.usage import FRESH_SECONDS, LOOK_SECONDS, UsageMeter
from supervisor.system import process_table
from supervisor.system.process_table import ObservedProcess

#: For each line that it reads: opens a file more, uses a fifth of a second of CPU, and says so.
WORKER = """
import sys, time
files = []
for line in sys.stdin:
    files.append(open("/dev/null"))
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    print("done", flush=True)
"""


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Rig:
    """A meter, its clock, and a process that it measures as worker 7 of slot 2."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.clock = Clock()
        self.meter = UsageMeter(self.clock)
        self.meter.watch(7, 2, process.pid)

    def work(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def end(self) -> None:
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def rig() -> Iterator[Rig]:
    command = [sys.executable, "-c", WORKER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        made = Rig(process)
        made.work()
        yield made
        process.kill()


def test_cpu_is_told_in_all_and_as_a_part_of_the_time_since_the_last_look(rig: Rig) -> None:
    rig.clock.now += 10.0
    first = rig.meter.of(7)
    assert first.cpu_percent is not None
    assert first.cpu_seconds is not None
    assert 0.15 < first.cpu_seconds < 5.0
    rig.work()
    rig.clock.now += 10.0
    second = rig.meter.of(7)
    assert second.cpu_percent is not None
    assert second.cpu_seconds is not None
    used = second.cpu_seconds - first.cpu_seconds
    assert 0.15 < used < 5.0
    assert second.cpu_percent == pytest.approx(used / 10.0 * 100)


def test_descriptors_are_counted(rig: Rig) -> None:
    before = rig.meter.of(7).open_descriptors
    assert before is not None
    rig.work()
    rig.clock.now += FRESH_SECONDS
    assert rig.meter.of(7).open_descriptors == before + 1


def test_however_many_ask_a_process_is_read_once_a_second(rig: Rig) -> None:
    rig.clock.now += 10.0
    first = rig.meter.of(7)
    rig.work()
    rig.clock.now += FRESH_SECONDS / 2
    assert rig.meter.of(7) == first
    assert rig.meter.cpu_seconds_by_slot() == {2: first.cpu_seconds}
    rig.clock.now += FRESH_SECONDS / 2
    assert rig.meter.of(7) != first


def test_of_a_worker_that_was_just_forked_the_part_is_not_known_yet(rig: Rig) -> None:
    rig.clock.now += FRESH_SECONDS / 2
    told = rig.meter.of(7)
    assert told.cpu_percent is None
    assert told.cpu_seconds is not None
    assert told.open_descriptors is not None


def test_the_cpu_is_looked_at_unasked_so_that_the_part_is_of_the_last_seconds(rig: Rig) -> None:
    rig.clock.now += LOOK_SECONDS - 0.1
    rig.meter.tick()
    rig.clock.now += 0.1
    rig.meter.tick()
    looked = rig.meter.cpu_seconds_by_slot()[2]
    rig.work()
    rig.clock.now += 2.0
    told = rig.meter.of(7)
    assert told.cpu_seconds is not None
    assert told.cpu_percent == pytest.approx((told.cpu_seconds - looked) / 2.0 * 100)


def test_who_is_gone_uses_nothing_and_what_it_used_stays_with_its_slot(rig: Rig) -> None:
    rig.clock.now += 10.0
    used = rig.meter.of(7).cpu_seconds
    rig.end()
    rig.clock.now += 10.0
    assert rig.meter.of(7) == ProcessUsage(None, used, None)
    assert rig.meter.of(7) == ProcessUsage(None, used, None)
    rig.meter.forget(7)
    assert rig.meter.of(7) == ProcessUsage()
    assert rig.meter.cpu_seconds_by_slot() == {2: used}
    rig.meter.watch(8, 2, os.getpid())
    assert rig.meter.cpu_seconds_by_slot()[2] > (used or 0.0)
    rig.meter.forget(7)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere psutil sees to that")
def test_a_number_that_another_process_has_by_now_is_not_read(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.clock.now += 10.0
    used = rig.meter.of(7).cpu_seconds
    # The kernel gives a number out again only after all others: seen from here, another process
    # is one that has another time of its start.
    read_stat = vars(process_table)["_stat"]

    def younger(pid: int) -> list[bytes]:
        *fields, started = read_stat(pid)[:20]
        return [*fields, started + b"1"]

    monkeypatch.setattr(process_table, "_stat", younger)
    rig.work()
    rig.clock.now += 10.0
    assert rig.meter.of(7) == ProcessUsage(None, used, None)
    monkeypatch.undo()
    rig.clock.now += 10.0
    assert rig.meter.of(7) == ProcessUsage(None, used, None), "once another's, never ours again"


def test_a_process_that_may_not_be_looked_into_still_has_its_cpu_told(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_: ObservedProcess) -> int:
        raise PermissionError

    monkeypatch.setattr(ObservedProcess, "descriptors", denied)
    rig.clock.now += 10.0
    told = rig.meter.of(7)
    assert told.open_descriptors is None
    assert told.cpu_percent is not None


@pytest.mark.parametrize("error", [PermissionError(), OSError(24, "too many open files")])
def test_a_process_of_which_nothing_may_be_read_has_no_values(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def denied(_: ObservedProcess) -> float:
        raise error

    monkeypatch.setattr(ObservedProcess, "cpu_seconds", denied)
    rig.meter.watch(8, 1, rig.process.pid)
    assert rig.meter.of(8) == ProcessUsage()
    rig.clock.now += 10.0
    assert rig.meter.of(7).cpu_percent is None


def test_a_process_that_is_gone_before_it_is_watched_has_no_values() -> None:
    meter = UsageMeter()
    meter.watch(1, 1, 2**22 + 1)
    meter.forget(1)
    assert meter.of(1) == ProcessUsage()
    assert meter.cpu_seconds_by_slot() == {}
