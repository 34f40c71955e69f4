"""The link between worker and supervisor, with a worker that a test controls."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from docket.backlog import Backlog
from docket.errors import DocketError
from docket.instrumentation import Counters
from docket.store.server_policy import ServerPolicy
from docket.supervision import Adoption, RunningTask
from ipc import messages
from ipc.channel import Channel
from ipc.messages import (
    Adopt,
    Adopted,
    Drain,
    Drained,
    Draining,
    Dump,
    Fault,
    FromWorker,
    Heartbeat,
    Hello,
    Ready,
    Redelivered,
    Steward,
    ToWorker,
    Waiting,
    WorkerSettings,
)
from supervisor.worker.keeper_pipe import KeeperPipe
from supervisor.worker.supervisor_link import SupervisorLink

pytestmark = pytest.mark.anyio


class FakeWorker:
    """As much of docket's Worker as a Link uses."""

    name = "host#1"
    consumer = "host#1.aaaa"
    loop_lag_seconds = 0.25
    unrecorded = 0

    def __init__(self) -> None:
        self.counters = Counters(started=1)
        self.said: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        self.adoptions: list[Adoption | Exception] = []
        self.drained = asyncio.Event()
        self.supervision: Any = None
        self.policy: ServerPolicy | DocketError | None = None

    async def run_supervised(self, supervision: Any, **options: float) -> None:
        self.supervision = supervision
        self.said.put_nowait(("run", options))
        await self.drained.wait()

    def running_tasks(self) -> list[RunningTask]:
        return [RunningTask("k", "f", 0.0)]

    def drain(self, deadline_seconds: float | None = None) -> None:
        self.supervision.draining()
        self.said.put_nowait(("drain", deadline_seconds))
        self.drained.set()

    def appoint_steward(self, on: bool) -> None:
        self.said.put_nowait(("steward", on))

    @property
    def docket(self) -> Any:
        return self

    @property
    def connections(self) -> Any:
        return self

    async def server_policy(self) -> ServerPolicy | None:
        if isinstance(self.policy, DocketError):
            raise self.policy
        return self.policy

    async def adopt(self, consumer: str, *, blame: str, max_deliveries: int) -> Adoption:
        self.said.put_nowait(("adopt", consumer, blame, max_deliveries))
        if not self.adoptions:
            await asyncio.Event().wait()
        outcome = self.adoptions.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Pair:
    """A Link with its worker, and the supervisor's end of its channel and pipes."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.keeper, keeper_write = os.pipe()
        self.dump, self.dump_write = os.pipe()
        self.worker = FakeWorker()
        self.received: asyncio.Queue[Any] = asyncio.Queue()
        self.channel: Channel[FromWorker] = Channel(
            ours, FromWorker, lambda message, fds: self.received.put_nowait(message), lambda _: None
        )
        settings = WorkerSettings(
            "d", "u", "u", heartbeat_seconds=0.01, max_deliveries=4, drain_timeout_seconds=9.0
        )
        self.keeper_write = keeper_write
        worker: Any = self.worker
        self.link = SupervisorLink(
            worker, settings, theirs, KeeperPipe(keeper_write), self.dump_write
        )

    async def next(self, wanted: type) -> Any:
        async with asyncio.timeout(20):
            while not isinstance(message := await self.received.get(), wanted):
                pass
        return message

    async def said(self) -> tuple[Any, ...]:
        async with asyncio.timeout(20):
            return await self.worker.said.get()

    def tell(self, message: ToWorker) -> None:
        self.channel.send(message)

    def close(self) -> None:
        self.channel.close()
        for fd in (self.keeper, self.keeper_write, self.dump, self.dump_write):
            os.close(fd)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    pair = Pair()
    yield pair
    pair.link.report_drained()
    await pair.link.close()
    pair.close()


@pytest.fixture
async def running(pair: Pair) -> AsyncIterator[Pair]:
    """A pair whose worker runs and is ready."""
    run = asyncio.create_task(pair.link.run())
    assert (await pair.said())[0] == "run"
    pair.link.ready()
    yield pair
    pair.worker.drained.set()
    await run


async def test_a_worker_sends_hello_and_then_ready(running: Pair) -> None:
    assert (await running.next(Hello)).pid == os.getpid()

    ready = await running.next(Ready)

    assert (ready.consumer, ready.name) == ("host#1.aaaa", "host#1")


async def test_the_heart_beats_from_the_first_report_on(pair: Pair) -> None:
    pair.link.waiting("the server is loading")

    assert (await pair.next(Waiting)).reason == "the server is loading"
    first, second = await pair.next(Heartbeat), await pair.next(Heartbeat)
    assert (first.sequence, second.sequence) == (1, 2)
    assert (first.counters.started, first.loop_lag_seconds) == (1, 0.25)
    assert first.in_flight[0].key == "k"


async def test_commands_go_to_the_worker(running: Pair) -> None:
    for message in (Steward(on=True), Drain(7.0)):
        running.tell(message)

    assert await running.said() == ("steward", True)
    assert await running.said() == ("drain", 7.0)


async def test_draining_is_reported_once(running: Pair) -> None:
    running.tell(Drain())
    running.tell(Drain(1.0))
    assert await running.said() == ("drain", None)
    assert await running.said() == ("drain", 1.0)

    running.link.report_drained()
    await running.link.close()

    told = []
    while not isinstance(message := await running.next(object), Drained):
        told.append(message)
    assert [type(message) for message in told].count(Draining) == 1


async def test_the_last_counters_come_before_drained(running: Pair) -> None:
    running.worker.counters.succeeded = 5

    running.link.report_drained()
    await running.link.close()

    last: Any = None
    while not isinstance(message := await running.next(object), Drained):
        last = message
    assert last.counters.succeeded == 5


async def test_a_worker_that_is_not_ready_yet_leaves_at_once_when_drained(pair: Pair) -> None:
    run = asyncio.create_task(pair.link.run())
    await pair.said()

    pair.tell(Drain())

    await pair.next(Draining)
    await run
    assert pair.worker.said.empty()


async def test_a_worker_drained_before_it_runs_does_not_begin(pair: Pair) -> None:
    pair.tell(Drain())
    await pair.next(Draining)

    await pair.link.run()

    assert pair.worker.said.empty()


async def test_a_cancellation_from_elsewhere_is_no_drain(pair: Pair) -> None:
    run = asyncio.create_task(pair.link.run())
    await pair.said()

    run.cancel()

    with pytest.raises(asyncio.CancelledError):
        await run


async def test_a_supervisor_that_is_gone_means_drain_within_the_timeout(running: Pair) -> None:
    running.channel.close()

    assert await running.said() == ("drain", 9.0)


async def test_an_adoption_is_answered_when_it_is_done(running: Pair) -> None:
    running.worker.adoptions = [Adoption("dead.1", 7, ("p",))]

    running.tell(Adopt("dead.1", "key:k"))

    assert await running.next(Adopted) == Adopted("dead.1", 7, ["p"], 1)
    assert await running.said() == ("adopt", "dead.1", "key:k", 4)


async def test_an_adoption_under_way_is_dropped_when_the_worker_ends(running: Pair) -> None:
    running.tell(Adopt("dead.1", "nobody"))
    assert (await running.said())[0] == "adopt"

    running.link.report_drained()
    await running.link.close()

    assert [task for task in asyncio.all_tasks() if task.get_name() == "adopt dead.1"] == []


async def test_the_first_redelivered_start_is_reported(running: Pair) -> None:
    running.link.redelivered("dead.1", 12.5)

    assert await running.next(Redelivered) == Redelivered("dead.1", 12.5)


async def test_the_steward_reports_the_policy_of_the_server_once(running: Pair) -> None:
    running.worker.policy = ServerPolicy("allkeys-lru", appendonly=False)
    for on in (True, False, True):
        running.tell(Steward(on=on))
        assert await running.said() == ("steward", on)
    running.link.redelivered("dead.1", 12.5)

    assert await running.next(messages.ServerPolicy) == messages.ServerPolicy("allkeys-lru", False)
    assert await running.next(Redelivered) == Redelivered("dead.1", 12.5)


async def test_the_backlog_of_the_docket_is_passed_on(running: Pair) -> None:
    running.link.backlog(Backlog(1, 2, 3, 4, 5, 6.5, None, 7, 8, 9))

    assert await running.next(messages.Backlog) == messages.Backlog(
        scheduled=1,
        queued=2,
        running=3,
        waiting=4,
        paused=5,
        oldest_ready_seconds=6.5,
        lateness_seconds=None,
        pauses=7,
        failed_kept=8,
        workers=9,
    )


@pytest.mark.parametrize("policy", [None, DocketError("not open")])
async def test_a_server_that_does_not_tell_its_policy_is_not_reported(
    running: Pair, policy: DocketError | None
) -> None:
    running.worker.policy = policy
    running.tell(Steward(on=True))
    assert await running.said() == ("steward", True)
    await asyncio.sleep(0)

    running.link.report_failed(Fault("the end"))
    await running.link.close()

    assert await running.next(Fault) == Fault("the end")


async def test_a_fault_is_the_last_message(running: Pair) -> None:
    running.link.report_failed(Fault("it broke"))
    await running.link.close()

    assert await running.next(Fault) == Fault("it broke")


async def test_beats_go_to_the_keepers_pipe(running: Pair) -> None:
    running.link.beat(0.5, "k")

    assert b"culprit" in os.read(running.keeper, 1000)


async def test_a_dump_goes_to_its_pipe_as_far_as_it_fits(running: Pair) -> None:
    os.set_blocking(running.dump_write, False)

    running.tell(Dump())
    running.tell(Steward(on=True))

    assert await running.said() == ("steward", True)
    text = os.read(running.dump, 1 << 16).decode()
    assert "1 task running" in text
    assert "f k for" in text
