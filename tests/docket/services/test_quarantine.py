"""A task under which a process died: a worker runs one at a time, and takes it alone."""

import asyncio

import pytest

from docket import Docket, Worker
from docket.services import exchanger
from docket.supervision import EVERYONE
from tests.support.dockets import Gate, at_work, result_of, soon
from tests.support.store import Store, store_at, until

pytestmark = pytest.mark.anyio


async def dead_under(store: Store, docket: Docket, *keys: str) -> None:
    """Tasks of these keys were running in a process that died."""
    await store.register("dead")
    for key in keys:
        await docket.add("run", key=key)(key)
    await store.exchange("dead", want=len(keys))
    await store.adopt("dead", EVERYONE)


class Ran:
    """What ran, in the order of the starts; quarantined tasks wait at the gate."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.started: list[str] = []

    async def run(self, key: str) -> str:
        self.started.append(key)
        if key.startswith("suspect"):
            await self.gate.pass_through(key)
        return key


async def test_what_waits_beside_a_quarantined_task_is_left_to_others_while_it_is_on_probation(
    server: str, docket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchanger, "PROBATION_SECONDS", 3600.0)
    one, two = Ran(), Ran()
    async with (
        store_at(server, docket_name) as store,
        Docket(docket_name, server) as docket,
        Docket(docket_name, server) as other,
    ):
        docket.register(one.run, names=["run"])
        other.register(two.run, names=["run"])
        await dead_under(store, docket, "suspect")
        async with at_work(Worker(docket)):
            await soon(one.gate.reached.wait())
            async with at_work(Worker(other)):
                executions = [await docket.add("run", key=f"k{n}")(f"k{n}") for n in range(20)]
                for execution in executions:
                    await result_of(execution)
            assert one.started == ["suspect"]
            # Its end is the end of the probation too.
            later = await docket.add("run", key="later")("later")
            one.gate.opened.set()
            assert await result_of(later) == "later"
            assert one.started == ["suspect", "later"]


async def test_a_worker_alone_runs_what_waits_beside_a_quarantined_task_once_the_probation_is_over(
    server: str, docket_name: str
) -> None:
    ran = Ran()
    async with store_at(server, docket_name) as store, Docket(docket_name, server) as docket:
        docket.register(ran.run, names=["run"])
        await dead_under(store, docket, "suspect-1", "suspect-2")
        innocent = await docket.add("run", key="innocent")("innocent")
        async with at_work(Worker(docket)) as worker:
            assert await result_of(innocent) == "innocent"
            assert len(ran.gate.arrivals) == 1
            ran.gate.opened.set()
            await until(lambda: worker.counters.succeeded == 3)
            assert len(ran.gate.arrivals) == 2


async def test_a_second_probation_outlasts_the_first(
    server: str, docket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each quarantined task has its own, whole."""
    monkeypatch.setattr(exchanger, "PROBATION_SECONDS", 3600.0)
    ran = Ran()
    async with store_at(server, docket_name) as store, Docket(docket_name, server) as docket:
        docket.register(ran.run, names=["run"])
        await dead_under(store, docket, "suspect-1", "suspect-2")
        async with at_work(Worker(docket)) as worker:
            await soon(ran.gate.reached.wait())
            monkeypatch.setattr(exchanger, "PROBATION_SECONDS", 0.05)
            ran.gate.opened.set()
            await until(lambda: worker.counters.succeeded == 2)
            await asyncio.gather(*[docket.add("run", key=f"k{n}")(f"k{n}") for n in range(5)])
            await until(lambda: worker.counters.succeeded == 7)
