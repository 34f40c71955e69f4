"""The same runtime without the command line: inside a program of its user."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypeVar

import psutil
import pytest

from docket import Docket
from supervisor.config import Address, SupervisorConfig
from supervisor.errors import AddressInUse
from supervisor.observer import (
    AdoptionFinished,
    EndpointsListening,
    FirstRedelivered,
    NurseryLoaded,
    PoolEvent,
    PoolReady,
    ServerStarted,
    Stopped,
    WorkerDied,
    WorkerReady,
)
from supervisor.supervisor import Supervisor
from tests.support.pool_tasks import nap
from tests.support.processes import fork
from tests.support.supervised import ROOT, TASKS

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]

E = TypeVar("E")

CONFIG = SupervisorConfig(processes=2, tasks=(TASKS,), url="memory://", docket="d")


class Watched:
    """A supervisor in this program, and what it tells."""

    def __init__(self, config: SupervisorConfig = CONFIG) -> None:
        self.events: asyncio.Queue[PoolEvent] = asyncio.Queue()
        self.supervisor = Supervisor(config, on_event=self.events.put_nowait)
        self.seen: list[PoolEvent] = []

    async def first(self, kind: type[E]) -> E:
        """The first of a kind, which may have been told before what was waited for last."""
        for event in self.seen:
            if isinstance(event, kind):
                return event
        return await self.next(kind)

    async def next(self, kind: type[E]) -> E:
        async with asyncio.timeout(30):
            while True:
                event = await self.events.get()
                self.seen.append(event)
                if isinstance(event, kind):
                    return event


@asynccontextmanager
async def guest(config: SupervisorConfig = CONFIG) -> AsyncGenerator[Watched]:
    watched = Watched(config)
    serving = asyncio.create_task(watched.supervisor.serve())
    try:
        yield watched
    finally:
        watched.supervisor.stop()
        async with asyncio.timeout(40):
            assert await serving == 0


async def test_a_guest_tells_what_happens_in_the_order_in_which_it_does() -> None:
    async with guest() as watched:
        await watched.next(PoolReady)
    kinds = [type(event) for event in watched.seen]
    assert kinds == [ServerStarted, NurseryLoaded, WorkerReady, WorkerReady, PoolReady]
    assert (await watched.next(Stopped)).code == 0


async def test_a_kill_is_told_with_the_time_to_the_first_redelivered_start() -> None:
    async with guest() as watched:
        url = (await watched.next(ServerStarted)).url
        victim = await watched.next(WorkerReady)
        await watched.next(PoolReady)
        async with Docket(name="d", url=url) as docket:
            docket.register(nap)
            naps = [await docket.add(nap)(0.3) for _ in range(40)]
            await naps[0].get_result()  # both are busy with the next ones
            os.kill(victim.pid, signal.SIGKILL)
            died = await watched.next(WorkerDied)
            assert (died.slot, died.pid, died.expected) == (victim.slot, victim.pid, False)
            adopted = await watched.next(AdoptionFinished)
            assert adopted.moved > 0
            for each in naps:
                await each.get_result()
            # The next run may begin before the adopter has told that it is done.
            first = await watched.first(FirstRedelivered)
    assert (first.slot, first.died_at) == (victim.slot, died.at)
    assert first.started_at > died.at


def exit_code_of(child: int) -> int:
    """Of one that has ended and that nobody else has reaped."""
    return os.waitstatus_to_exitcode(os.waitpid(child, os.WNOHANG)[1])


async def test_a_guest_leaves_the_hosts_children_and_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    child = fork()
    if child == 0:
        os._exit(7)
    async with guest() as watched:
        await watched.next(PoolReady)
        assert signal.getsignal(signal.SIGTERM) is before
    assert exit_code_of(child) == 7


async def test_a_guest_that_cannot_start_raises_and_leaves_nothing_running() -> None:
    async with guest(config_with(Address("127.0.0.1", 0))) as watched:
        taken = await watched.next(EndpointsListening)
        await watched.next(PoolReady)
        second = Supervisor(config_with(Address("127.0.0.1", taken.port)))
        before = {each.pid for each in psutil.Process().children(recursive=True)}
        with pytest.raises(AddressInUse):
            await second.serve()
        after = {each.pid for each in psutil.Process().children(recursive=True)}
        assert after <= before


def config_with(address: Address) -> SupervisorConfig:
    return SupervisorConfig(processes=1, tasks=(TASKS,), url="memory://", http=address)


async def test_a_stop_before_the_start_is_a_clean_end() -> None:
    supervisor = Supervisor(CONFIG)
    supervisor.stop()
    async with asyncio.timeout(30):
        assert await supervisor.serve() == 0


async def test_a_stop_after_the_end_does_nothing() -> None:
    async with guest() as watched:
        await watched.next(PoolReady)
    watched.supervisor.stop(hand_back=True)


def test_a_run_outside_of_the_main_thread_is_stopped_from_another() -> None:
    ready = threading.Event()
    codes: list[int] = []

    def note(event: PoolEvent) -> None:
        if isinstance(event, PoolReady):
            ready.set()

    supervisor = Supervisor(CONFIG, on_event=note)
    thread = threading.Thread(target=lambda: codes.append(supervisor.run()))
    thread.start()
    assert ready.wait(30)
    supervisor.stop(hand_back=True)
    thread.join(40)
    assert codes == [0]


def test_a_program_of_its_own_needs_three_lines() -> None:
    source = (
        "import os, signal\n"
        "from supervisor.config import SupervisorConfig\n"
        "from supervisor.observer import PoolReady\n"
        "from supervisor.supervisor import Supervisor\n"
        "def stop(event):\n"
        "    if isinstance(event, PoolReady): os.kill(os.getpid(), signal.SIGTERM)\n"
        "config = SupervisorConfig(processes=1, url='memory://')\n"
        "raise SystemExit(Supervisor(config, on_event=stop).run())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", source],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "SIGTERM: draining" in ended.stderr
