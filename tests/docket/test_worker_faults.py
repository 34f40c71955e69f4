"""A worker that cannot go on: what it ran goes to others, and never beside them."""

import asyncio

import pytest
from redis.exceptions import ResponseError

from docket import Docket, Worker
from docket.store import scripts
from tests.support.dockets import Told, at_work, result_of, soon
from tests.support.proxy import Do, calls, proxy_to
from tests.support.store import until

pytestmark = pytest.mark.anyio


class Slow:
    """A task whose first run takes its time to end when it is cancelled."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.cleaned_up = asyncio.Event()

    async def run(self) -> str:
        if self.events:
            self.events.append("second")
            return "second"
        self.events.append("first")
        try:
            await asyncio.Event().wait()
        finally:
            self.events.append("cancelled")
            await self.cleaned_up.wait()
            self.events.append("ended")
        return "first"


async def faulty(worker: Worker, told: Told) -> None:
    with pytest.raises(ResponseError, match="broken"):
        await worker.run_supervised(told)


async def test_what_it_ran_starts_elsewhere_when_its_cleanup_is_over(
    server: str, docket_name: str
) -> None:
    slow, told = Slow(), Told()
    async with (
        proxy_to(server) as proxy,
        Docket(docket_name, server) as other,
        Docket(docket_name, proxy.url) as docket,
    ):
        docket.register(slow.run, names=["run"])
        other.register(slow.run, names=["run"])
        running = asyncio.create_task(faulty(Worker(docket), told))
        await soon(told.is_ready.wait())
        execution = await other.add("run")()
        await until(lambda: slow.events == ["first"])
        proxy.intercept(calls(scripts.EXCHANGE), Do.ANSWER, error="ERR broken")
        await other.transitions.wake_idle()
        await until(lambda: slow.events == ["first", "cancelled"])
        async with at_work(Worker(other)):
            slow.cleaned_up.set()
            assert await result_of(execution) == "second"
        await soon(running)
    assert slow.events == ["first", "cancelled", "ended", "second"]


async def test_what_would_not_end_is_left_to_whoever_sees_the_process_end(
    server: str, docket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docket.worker.GOODBYE_SECONDS", 0.05)
    slow, told = Slow(), Told()
    async with (
        proxy_to(server) as proxy,
        Docket(docket_name, server) as other,
        Docket(docket_name, proxy.url) as docket,
    ):
        docket.register(slow.run, names=["run"])
        other.register(slow.run, names=["run"])
        worker = Worker(docket)
        running = asyncio.create_task(faulty(worker, told))
        await soon(told.is_ready.wait())
        consumer = worker.consumer
        execution = await other.add("run")()
        await until(lambda: slow.events == ["first"])
        proxy.intercept(calls(scripts.EXCHANGE), Do.ANSWER, error="ERR broken")
        await other.transitions.wake_idle()
        await soon(running)
        assert slow.events == ["first", "cancelled"]
        assert consumer.encode() in await other.transitions.beats()
        async with at_work(Worker(other)) as heir:
            # As the supervisor does, once the process is gone.
            slow.cleaned_up.set()
            await until(lambda: slow.events[-1] == "ended")
            await heir.adopt(consumer, blame="nobody")
            assert await result_of(execution) == "second"
