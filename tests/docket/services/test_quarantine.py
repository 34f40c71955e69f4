"""A task under which a process died: a worker runs one at a time, and takes it alone."""

import asyncio
import gc

import pytest

from docket import Docket, Worker
from docket.services import exchanger
from docket.services.runs import Run
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


async def suspect_for(store: Store, milliseconds: int, *keys: str) -> None:
    """So long had they run when their process died."""
    for key in keys:
        await store.client.hset(store.keys.record(key), "suspect_for", milliseconds)


def runs_of(key: str) -> list[Run]:
    """Those that anybody still refers to."""
    gc.collect()
    return [
        each
        for each in gc.get_objects()
        if isinstance(each, Run) and each.claim.key == key.encode()
    ]


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


async def test_ten_long_tasks_of_a_dead_worker_run_at_once_when_they_have_outlived_its_death(
    server: str, docket_name: str
) -> None:
    one, two = Ran(), Ran()
    keys = [f"suspect-{n}" for n in range(10)]
    async with (
        store_at(server, docket_name) as store,
        Docket(docket_name, server) as docket,
        Docket(docket_name, server) as other,
    ):
        docket.register(one.run, names=["run"])
        other.register(two.run, names=["run"])
        await dead_under(store, docket, *keys)
        await suspect_for(store, 300, *keys)
        async with at_work(Worker(docket)), at_work(Worker(other)):
            await until(lambda: sorted(one.gate.arrivals + two.gate.arrivals) == keys)
            one.gate.opened.set()
            two.gate.opened.set()


async def test_one_that_may_still_end_like_the_last_run_keeps_others_of_its_kind_from_its_worker(
    server: str, docket_name: str
) -> None:
    ran = Ran()
    async with store_at(server, docket_name) as store, Docket(docket_name, server) as docket:
        docket.register(ran.run, names=["run"])
        await dead_under(store, docket, "suspect-1", "suspect-2")
        await suspect_for(store, 3_600_000, "suspect-1", "suspect-2")
        async with at_work(Worker(docket)) as worker:
            await soon(ran.gate.reached.wait())
            innocent = await docket.add("run", key="innocent")("innocent")
            assert await result_of(innocent) == "innocent"
            assert len(ran.gate.arrivals) == 1
            ran.gate.opened.set()
            await until(lambda: worker.counters.succeeded == 3)


async def test_what_has_outlived_the_run_that_died_is_handed_back_to_wait_with_all_others(
    server: str, docket_name: str
) -> None:
    ran = Ran()
    async with store_at(server, docket_name) as store, Docket(docket_name, server) as docket:
        docket.register(ran.run, names=["run"])
        await dead_under(store, docket, "suspect-1", "suspect-2")
        await suspect_for(store, 300, "suspect-1")
        await suspect_for(store, 3_600_000, "suspect-2")
        async with at_work(Worker(docket)):
            # The second is claimed when the first has outlived it.
            await until(lambda: len(ran.gate.arrivals) == 2)
        after = await store.state()
        assert {after.records[key]["deaths"] for key in ("suspect-1", "suspect-2")} == {"1"}
        assert after.where("suspect-1")[0][0] == "f"
        assert after.where("suspect-2")[0][0] == "x"


async def test_the_timers_of_suspects_end_with_them(server: str, docket_name: str) -> None:
    """A suspicion may last for hours, and holds on to the task and its arguments."""
    ran = Ran()
    async with store_at(server, docket_name) as store, Docket(docket_name, server) as docket:
        docket.register(ran.run, names=["run"])
        await dead_under(store, docket, "suspect")
        await suspect_for(store, 3_600_000, "suspect")
        ran.gate.opened.set()
        async with at_work(Worker(docket)) as worker:
            await until(lambda: worker.counters.succeeded == 1)
            await until(lambda: not runs_of("suspect"))
