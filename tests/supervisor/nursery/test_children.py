"""The workers of a nursery from fork to reaping, with real processes."""

import os
import select
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable

import pytest

from ipc.messages import Exited
from supervisor.grace_periods import PROCESS_GROUP_SECONDS
from supervisor.nursery.children import Children
from supervisor.system import process_group

GENTLE = [sys.executable, "-c", "import signal; print(1, flush=True); signal.pause()"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True); signal.pause()",
]


def fork(children: Children, work: Callable[[], int]) -> int:
    """A worker that does this in a group of its own and exits with what it returns."""
    pid = fork_apart(work)
    children.add(pid)
    return pid


def fork_apart(work: Callable[[], int]) -> int:
    with warnings.catch_warnings():
        # The tests' own runner has threads; the child touches nothing of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        status = 99
        try:
            os.setpgid(0, 0)
            status = work()
        finally:
            os._exit(status)
    return pid


def wait_for_zombie(pid: int) -> None:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def leave_behind(command: list[str]) -> Callable[[], int]:
    """Work that starts a subprocess and exits without it."""

    def work() -> int:
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        return 0

    return work


def pause() -> int:
    signal.pause()
    return 0


def test_a_worker_that_left_nothing_is_reaped_when_it_is_seen_to_have_exited() -> None:
    children = Children()
    pid = fork(children, lambda: 7)
    wait_for_zombie(pid)

    [exited] = children.collect(now=0.0)

    assert (exited.pid, os.waitstatus_to_exitcode(exited.status)) == (pid, 7)
    assert len(children) == 0
    assert children.collect(now=0.0) == []


def test_a_worker_that_lives_is_left_alone_until_it_is_killed() -> None:
    children = Children()
    pid = fork(children, pause)

    assert children.collect(now=0.0) == []
    assert len(children) == 1
    assert children.kill(pid)
    wait_for_zombie(pid)

    assert [exited.status for exited in children.collect(now=0.0)] == [signal.SIGKILL]
    assert not children.kill(pid), "its number may be a stranger's by now"


def test_all_are_killed_at_once() -> None:
    children = Children()
    pids = [fork(children, pause), fork(children, pause)]

    children.kill_all()
    for pid in pids:
        wait_for_zombie(pid)

    assert sorted(exited.pid for exited in children.collect(now=0.0)) == sorted(pids)


def test_a_worker_is_not_reaped_before_what_it_left_behind_has_ended() -> None:
    children = Children()
    pid = fork(children, leave_behind(GENTLE))
    wait_for_zombie(pid)

    exits = children.collect(now=100.0)
    assert children.deadline() in {None, 100.0 + PROCESS_GROUP_SECONDS}
    while not exits:
        poller = select.poll()
        for pidfd in children.watched():
            poller.register(pidfd, select.POLLIN)
        assert poller.poll(10_000), "TERM ends it"
        exits = children.collect(now=100.0)

    assert [exited.pid for exited in exits] == [pid]
    assert process_group.members(pid) == []
    assert (children.watched(), children.deadline()) == ([], None)


def test_what_does_not_end_by_itself_is_killed_after_the_grace() -> None:
    children = Children()
    pid = fork(children, leave_behind(STUBBORN))
    wait_for_zombie(pid)
    assert children.collect(now=100.0) == []
    [pidfd] = children.watched()
    pidfd = os.dup(pidfd)

    exits: list[Exited] = children.collect(now=100.0 + PROCESS_GROUP_SECONDS)

    assert [exited.pid for exited in exits] == [pid]
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    assert poller.poll(10_000), "KILL ends it"
    os.close(pidfd)


def test_without_pidfds_what_is_left_behind_has_its_whole_grace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_group, "HAS_PIDFDS", False)
    children = Children()
    pid = fork(children, leave_behind(STUBBORN))
    wait_for_zombie(pid)
    [left] = process_group.members(pid)
    pidfd = os.pidfd_open(left)

    assert children.collect(now=100.0) == []
    assert children.watched() == []
    assert children.deadline() == 100.0 + PROCESS_GROUP_SECONDS
    assert process_group.members(pid) == [left], "it is asked to end, not made to"

    exits = children.collect(now=100.0 + PROCESS_GROUP_SECONDS)
    assert [exited.pid for exited in exits] == [pid]
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    assert poller.poll(10_000), "KILL ends it"
    os.close(pidfd)


def test_a_forked_child_forgets_its_siblings_and_what_they_left() -> None:
    children = Children()
    pid = fork(children, leave_behind(STUBBORN))
    wait_for_zombie(pid)
    children.collect(now=100.0)
    [pidfd] = [os.dup(each) for each in children.watched()]
    sibling = fork(children, pause)

    children.forget()

    assert (len(children), children.watched()) == (0, [])
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.kill(sibling, signal.SIGKILL)
    os.close(pidfd)
    os.waitpid(pid, 0)
    os.waitpid(sibling, 0)


def test_a_worker_that_has_ended_already_is_taken_in_all_the_same() -> None:
    children = Children()
    pid = fork_apart(lambda: 3)
    wait_for_zombie(pid)

    children.add(pid)

    assert [exited.pid for exited in children.collect(now=0.0)] == [pid]
