"""Exits and reaping, with real children."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import psutil
import pytest

from supervisor import grace_periods
from supervisor.processes.reaper import Reaper
from tests.support.processes import fork

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]


@asynccontextmanager
async def reaping(*, reap_unknown: bool = False) -> AsyncGenerator[Reaper]:
    reaper = Reaper(reap_unknown=reap_unknown)
    try:
        yield reaper
    finally:
        reaper.close()


def child(*, leads_group: bool = False) -> int:
    """A child that waits to be killed."""
    pid = fork()
    if pid == 0:
        if leads_group:
            os.setpgid(0, 0)
        signal.pause()
        os._exit(0)
    if leads_group:
        os.setpgid(pid, pid)
    return pid


def child_with_a_subprocess() -> tuple[int, int]:
    """A group leader whose subprocess ignores TERM, as stubborn tools do; both pids."""
    read, write = os.pipe()
    pid = fork()
    if pid == 0:
        os.setpgid(0, 0)
        code = (
            "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True); signal.pause()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE
        ) as stubborn:
            assert stubborn.stdout is not None
            stubborn.stdout.readline()
            os.write(write, str(stubborn.pid).encode())
            signal.pause()
    os.close(write)
    grandchild = int(os.read(read, 100))
    os.close(read)
    return pid, grandchild


def kill_and_leave(pid: int) -> None:
    """A child that is dead and not reaped."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def kill_and_reap(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


async def end_of(pidfd: int) -> None:
    """Return when that process has ended."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        async with asyncio.timeout(10):
            await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


async def status_of(
    reaper: Reaper, pid: int, pidfd: int | None, *, leads_group: bool = False
) -> int | None:
    ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
    reaper.watch(pid, pidfd, ended.set_result, leads_group=leads_group)
    assert reaper.signal(pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        return await ended


async def test_an_exit_is_reported_with_its_status_and_the_child_is_reaped() -> None:
    pid = child()
    async with reaping() as reaper:
        assert await status_of(reaper, pid, os.pidfd_open(pid)) == signal.SIGKILL
        assert gone(pid)
        assert reaper.signal(pid, signal.SIGKILL)  # one that has ended needs no signal


async def test_an_exit_status_is_that_of_os_wait() -> None:
    pid = fork()
    if pid == 0:
        os._exit(7)
    async with reaping() as reaper:
        ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        reaper.watch(pid, os.pidfd_open(pid), ended.set_result, leads_group=False)
        assert os.waitstatus_to_exitcode(await ended or 0) == 7


async def test_without_a_pidfd_an_exit_is_seen_by_a_sweep() -> None:
    pid = child()
    seen: list[int | None] = []
    async with reaping() as reaper:
        reaper.watch(pid, None, seen.append, leads_group=False)
        assert not reaper.signal(pid, signal.SIGKILL)
        reaper.sweep()
        assert seen == []
        kill_and_leave(pid)
        reaper.sweep()
        assert seen == [signal.SIGKILL]
        assert gone(pid)


async def test_a_status_that_its_parent_reports_is_enough() -> None:
    seen: list[int | None] = []
    async with reaping() as reaper:
        reaper.watch(os.getppid(), None, seen.append, leads_group=False)
        reaper.report(os.getppid(), 9)
        reaper.report(os.getppid(), 9)
    assert seen == [9]


async def test_what_a_dead_worker_left_running_ends_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grace_periods, "PROCESS_GROUP_SECONDS", 0.1)
    pid, stubborn = child_with_a_subprocess()
    async with reaping() as reaper:
        await status_of(reaper, pid, os.pidfd_open(pid), leads_group=True)
        assert not gone(pid)  # unreaped, so that its number names its group and no other
        reaper.sweep()
        await end_of(os.pidfd_open(stubborn))
        assert gone(pid)


async def test_at_the_end_nothing_is_held_back() -> None:
    pid, stubborn = child_with_a_subprocess()
    reaper = Reaper(reap_unknown=False)
    await status_of(reaper, pid, os.pidfd_open(pid), leads_group=True)
    assert not gone(pid)
    pidfd = os.pidfd_open(stubborn)
    reaper.close()
    assert gone(pid)
    await end_of(pidfd)


async def test_unknown_children_are_reaped_only_when_that_is_asked_for() -> None:
    pid = child()
    kill_and_leave(pid)
    async with reaping(reap_unknown=False) as guest:
        guest.sweep()
        assert not gone(pid)
    async with reaping(reap_unknown=True) as own:
        own.sweep()
        assert gone(pid)


async def test_a_child_that_is_watched_is_no_stranger() -> None:
    pid = child()
    ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
    async with reaping(reap_unknown=True) as reaper:
        reaper.watch(pid, os.pidfd_open(pid), ended.set_result, leads_group=False)
        kill_and_leave(pid)
        reaper.sweep()
        assert not gone(pid)
        async with asyncio.timeout(10):
            assert await ended == signal.SIGKILL
        assert gone(pid)


async def test_a_child_of_another_is_left_to_it_even_when_it_is_dead() -> None:
    """As with a nursery's workers: the exit is seen at once, the parent reaps."""
    read, write = os.pipe()
    parent = fork()
    if parent == 0:
        worker = child()
        os.write(write, str(worker).encode())
        signal.pause()
    os.close(write)
    worker = int(os.read(read, 100))
    os.close(read)
    async with reaping() as reaper:
        assert await status_of(reaper, worker, os.pidfd_open(worker)) is None
        assert not gone(worker)
        kill_and_reap(parent)
