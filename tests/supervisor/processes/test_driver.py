"""The process driver, with a real nursery and real workers that never find a server."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psutil
import pytest

from ipc.messages import Exited, Hello, Loaded, Spawned, WorkerSettings
from supervisor import grace_periods
from supervisor.inbox import Inbox
from supervisor.pool.state.inbox_events import (
    Event,
    NurseryExited,
    NurseryMessage,
    WorkerExited,
    WorkerMessage,
)
from supervisor.pool.state.process_control import ProcessUsage
from supervisor.pool.state.worker_registry import WorkerProcess
from supervisor.processes import driver
from supervisor.processes.child_links import WorkerLink
from supervisor.processes.driver import ProcessDriver
from supervisor.processes.reaper import Reaper
from tests.support.processes import fork
from tests.support.supervised import ROOT, TASKS

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

E = TypeVar("E")

SETTINGS = WorkerSettings("d", "redis://127.0.0.1:1/0", "redis://127.0.0.1:1/0")


class Driven:
    """A driver, its inbox and its reaper."""

    def __init__(self) -> None:
        self.inbox = Inbox()
        self.reaper = Reaper(reap_unknown=False)
        self.driver = ProcessDriver(self.inbox, self.reaper, SETTINGS, (TASKS,), str(ROOT), None)
        self.pid = -1

    async def next(self, kind: type[E]) -> E:
        """The next event of that kind."""
        async with asyncio.timeout(30):
            while True:
                event: Event = (await self.inbox.take())[0]
                if isinstance(event, kind):
                    return event

    async def nursery_sends(self, kind: type) -> None:
        while not isinstance((await self.next(NurseryMessage)).message, kind):
            pass

    async def swept(self, kind: type[E]) -> E:
        """The next event of that kind where SIGCHLD or a tick would have to find the exit."""
        waiting = asyncio.create_task(self.next(kind))
        while not waiting.done():
            self.reaper.sweep()
            await asyncio.wait([waiting], timeout=0.02)
        return waiting.result()


@asynccontextmanager
async def process_control() -> AsyncGenerator[Driven]:
    made = Driven()
    made.pid = made.driver.start_nursery(1, preload=True)
    try:
        await made.nursery_sends(Loaded)
        yield made
        made.driver.kill_nursery(1)
        made.driver.kill_nursery(1)
        made.driver.kill_nursery(9)
        await made.swept(NurseryExited)
    finally:
        made.driver.close()
        made.reaper.close()


def worker_process(number: int = 1, pid: int | None = None) -> WorkerProcess:
    return WorkerProcess(number, number, f"host#{number}", 1, 0.0, pid=pid)


async def test_a_worker_is_forked_with_a_channel_of_its_own_and_its_exit_is_seen() -> None:
    async with process_control() as made:
        worker = worker_process()
        made.driver.spawn(worker)
        hello = await made.next(WorkerMessage)
        assert isinstance(hello.message, Hello)
        worker.spawned_at = 1.0
        used = made.driver.usage(worker)
        assert used.cpu_seconds is not None
        assert (used.open_descriptors or 0) >= 3
        made.driver.catch_up()
        made.driver.kill(worker)
        exited = await made.next(WorkerExited)
        assert exited.number == worker.number
        made.driver.release(worker)
        made.driver.release(worker)
        assert made.driver.usage(worker) == ProcessUsage()
        assert made.driver.cpu_seconds_by_slot() == {worker.slot: used.cpu_seconds}


async def test_a_status_that_comes_before_the_last_messages_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: list[int] = []

    class HeldOpen(WorkerLink):
        def __init__(self, *listeners: Any) -> None:
            super().__init__(*listeners)
            held.append(os.dup(self.for_worker[0]))

    monkeypatch.setattr(driver, "WorkerLink", HeldOpen)
    monkeypatch.setattr(grace_periods, "LAST_MESSAGES_SECONDS", 30.0)
    async with process_control() as made:
        worker = worker_process()
        made.driver.spawn(worker)
        await made.nursery_sends(Spawned)
        worker.spawned_at = 1.0
        made.driver.kill(worker)
        await made.nursery_sends(Exited)
        os.close(held.pop())
        assert await made.next(WorkerExited) == WorkerExited(1, signal.SIGKILL)


async def test_a_worker_that_is_killed_before_its_fork_dies_right_after_it() -> None:
    async with process_control() as made:
        worker = worker_process()
        made.driver.spawn(worker)
        made.driver.kill(worker)
        assert (await made.next(WorkerExited)).number == worker.number


async def test_a_worker_that_is_given_up_before_its_fork_ends_by_itself() -> None:
    async with process_control() as made:
        worker = worker_process()
        made.driver.spawn(worker)
        worker.state = worker.state.DEAD
        made.driver.release(worker)
        await made.nursery_sends(Spawned)
        children = psutil.Process(made.pid).children()
        _, alive = await asyncio.to_thread(psutil.wait_procs, children, timeout=20)
        assert alive == []


async def test_without_descriptors_a_worker_is_dead_before_it_was_born(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("too many open files")

    async with process_control() as made:
        monkeypatch.setattr(driver, "WorkerLink", refuse)
        made.driver.spawn(worker_process())
        assert await made.next(WorkerExited) == WorkerExited(1, None)
        assert "cannot connect worker 1: too many open files" in caplog.text


async def test_an_orphan_is_watched_by_its_pid() -> None:
    pid = fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    async with process_control() as made:
        made.driver.watch_orphan(worker_process(pid=pid))
        os.kill(pid, signal.SIGKILL)
        assert await made.next(WorkerExited) == WorkerExited(1, signal.SIGKILL)


@pytest.mark.parametrize("pid", [None, 1, 2**22 + 1])
async def test_a_process_that_is_no_orphan_of_ours_is_taken_for_dead(pid: int | None) -> None:
    async with process_control() as made:
        made.driver.watch_orphan(worker_process(pid=pid))
        assert await made.next(WorkerExited) == WorkerExited(1, None)


async def test_without_pidfds_the_nursery_does_the_killing_and_reports_the_exit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_pid: int) -> int:
        raise OSError("no such system call")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    spawned = ProcessDriver._spawned  # noqa: SLF001 - what a nursery without pidfds would have sent

    def without_pidfd(
        self: ProcessDriver, generation: int, message: Spawned, pidfd: int | None
    ) -> None:
        if pidfd is not None:
            os.close(pidfd)
        spawned(self, generation, message, None)

    monkeypatch.setattr(ProcessDriver, "_spawned", without_pidfd)
    async with process_control() as made:
        worker = worker_process()
        made.driver.spawn(worker)
        await made.nursery_sends(Spawned)
        worker.spawned_at = 1.0
        made.driver.kill(worker)
        exited = await made.next(WorkerExited)
        assert exited == WorkerExited(1, signal.SIGKILL)


async def test_nothing_is_sent_to_and_dumped_by_a_worker_that_is_not_there() -> None:
    async with process_control() as made:
        stranger = worker_process(9)
        made.driver.send(stranger, Hello(1, 1))  # type: ignore[arg-type]
        made.driver.dump(stranger)
        made.driver.retire_nursery(9)


async def test_the_wait_for_a_cpu_is_known_if_the_kernel_has_it() -> None:
    async with process_control() as made:
        waited = made.driver.cpu_wait_seconds(os.getpid())
        assert waited is None or waited >= 0
        assert made.driver.cpu_wait_seconds(2**22 + 1) is None
        used = made.driver.cpu_used_seconds(os.getpid())
        assert used is None or used > 0
        assert made.driver.cpu_used_seconds(2**22 + 1) is None
