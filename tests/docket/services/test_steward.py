"""The steward: due tasks on time, the dead noticed, and nobody who lives taken for dead."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from docket import Docket, Worker
from docket.store import scripts
from tests.support.dockets import Gate, Told, at_work, result_of, soon
from tests.support.proxy import Do, Matches, Proxy, calls, proxy_to, word
from tests.support.store import Store, store_at, until

pytestmark = pytest.mark.anyio

BEAT = timedelta(milliseconds=40)


def every(proxy: Proxy, matches: Matches) -> list[None]:
    """Note the commands that pass the proxy, of one kind."""
    seen: list[None] = []

    def note(words: list[bytes]) -> bool:
        if matches(words):
            seen.append(None)
        return False

    proxy.intercept(note, Do.ANSWER)
    return seen


def promotions(proxy: Proxy) -> list[None]:
    return every(proxy, calls(scripts.PROMOTE))


async def nothing() -> None:
    pass


async def test_a_task_starts_when_it_is_due_after_a_handful_of_looks(
    server: str, docket_name: str
) -> None:
    async with (
        proxy_to(server) as proxy,
        Docket(docket_name, proxy.url) as docket,
        at_work(Worker(docket)),
    ):
        looks = promotions(proxy)
        execution = await docket.add(nothing, when=datetime.now(UTC) + timedelta(seconds=0.5))()
        await result_of(execution)
        assert execution.started_at is not None
        assert execution.started_at >= execution.when
        assert len(looks) <= 4


async def test_an_earlier_task_wakes_a_steward_that_sleeps_for_a_later_one(
    server: str, docket_name: str
) -> None:
    async with Docket(docket_name, server) as docket, at_work(Worker(docket)):
        await docket.add(nothing, when=datetime.now(UTC) + timedelta(hours=1), key="late")()
        early = await docket.add(nothing, when=datetime.now(UTC) + timedelta(seconds=0.1))()
        await result_of(early)


async def test_more_due_tasks_than_one_call_moves_are_all_moved(
    server: str, docket_name: str
) -> None:
    async with Docket(docket_name, server) as docket, store_at(server, docket_name) as store:
        docket.register(nothing)
        later = datetime.now(UTC) + timedelta(hours=1)
        executions = await asyncio.gather(*[docket.add(nothing, when=later)() for _ in range(600)])
        await store.rewind_queue()
        async with at_work(Worker(docket, concurrency=1)):
            for execution in executions:
                await result_of(execution)


async def test_a_lost_subscription_does_not_lose_the_wake_up(
    server: str, docket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docket.services.steward.RECHECK_SECONDS", 0.05)
    async with (
        proxy_to(server) as proxy,
        Docket(docket_name, server) as producer,
        Docket(docket_name, proxy.url) as docket,
    ):
        docket.register(nothing)
        async with at_work(Worker(docket)):
            await producer.add(nothing, when=datetime.now(UTC) + timedelta(hours=1))()
            proxy.cut()
            early = datetime.now(UTC) + timedelta(seconds=0.05)
            await result_of(await producer.add(nothing, when=early)())


async def dead_run(store: Store, name: str = "dead") -> None:
    """A run of a consumer that will never be heard of again."""
    await store.register(name)
    await store.add("k")
    assert (await store.claim(name)).key == b"k"


@pytest.mark.parametrize("is_registered", [True, False], ids=["silent", "unregistered"])
async def test_a_dead_consumer_is_adopted_and_its_run_goes_on_elsewhere(
    server: str, docket_name: str, is_registered: bool
) -> None:
    ran = asyncio.Event()

    async def run() -> None:
        ran.set()

    async with (
        store_at(server, docket_name) as store,
        Docket(docket_name, server, heartbeat_interval=BEAT, missed_heartbeats=3) as docket,
    ):
        docket.register(run, names=["f"])
        await dead_run(store)
        # What the record holds is no call of ours: it is enough that it comes to be run.
        if not is_registered:
            await store.client.zrem(store.keys.workers, "dead")
            await store.client.hdel(store.keys.epochs, "dead")
        async with at_work(Worker(docket)) as worker:
            await until(lambda: worker.counters.redelivered == 1)

            async def is_forgotten() -> bool:
                consumers = await store.transitions.consumers()
                return set(consumers.pending) == {worker.consumer.encode()}

            await until(is_forgotten)
            assert (await store.state()).workers == {worker.consumer}


async def test_an_adoption_that_the_server_refuses_is_tried_again_and_stops_nothing_else(
    server: str, docket_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        proxy_to(server) as proxy,
        store_at(server, docket_name) as store,
        Docket(docket_name, proxy.url, heartbeat_interval=BEAT, missed_heartbeats=3) as docket,
    ):

        async def run() -> None:
            pass

        docket.register(run, names=["f"])
        await dead_run(store)
        proxy.intercept(calls(scripts.ADOPT), Do.ANSWER, times=2, error="ERR no")
        async with at_work(Worker(docket)) as worker:
            await until(lambda: worker.counters.redelivered == 1)
    assert caplog.text.count("The tasks of worker dead cannot be adopted: ") == 2


async def test_the_heartbeats_of_others_come_with_its_own_so_that_it_need_not_look(
    server: str, docket_name: str
) -> None:
    interval = timedelta(seconds=0.5)
    async with (
        proxy_to(server) as proxy,
        Docket(docket_name, proxy.url, heartbeat_interval=interval) as docket,
    ):
        looks = every(proxy, word(b"TIME"))
        beats = every(proxy, calls(scripts.BEAT))
        async with at_work(Worker(docket)):
            await until(lambda: len(beats) == 6)
            assert len(looks) < 4


async def test_it_looks_at_the_heartbeats_of_others_by_itself_while_its_own_do_not_arrive(
    server: str, docket_name: str
) -> None:
    async with (
        proxy_to(server) as proxy,
        store_at(server, docket_name) as store,
        Docket(docket_name, proxy.url, heartbeat_interval=BEAT, missed_heartbeats=3) as docket,
    ):
        await dead_run(store)
        proxy.intercept(calls(scripts.BEAT), Do.ANSWER, times=-1, error="ERR no")
        worker = Worker(docket)
        worker.appoint_steward(True)
        running = asyncio.create_task(worker.run_supervised(Told()))

        async def is_adopted() -> bool:
            return b"dead" not in (await store.transitions.consumers()).registered

        await until(is_adopted)
        worker.drain()
        await soon(running)


async def test_a_worker_that_beats_is_not_taken_for_dead(server: str, docket_name: str) -> None:
    gate = Gate()

    async def wait() -> None:
        await gate.pass_through()

    async with (
        store_at(server, docket_name) as store,
        Docket(docket_name, server, heartbeat_interval=BEAT, missed_heartbeats=10) as docket,
        Docket(docket_name, server, heartbeat_interval=BEAT, missed_heartbeats=10) as other,
    ):
        busy, steward = Worker(docket), Worker(other)
        async with at_work(busy), at_work(steward):
            execution = await docket.add(wait)()
            await soon(gate.reached.wait())
            names = {busy.consumer, steward.consumer}
            before = await store.transitions.beats()

            async def have_beaten_often() -> bool:
                beats = await store.transitions.beats()
                return all(beats[name] - before[name] > 25 * 40 for name in before)

            await until(have_beaten_often)
            assert {busy.consumer, steward.consumer} == names
            gate.opened.set()
            await result_of(execution)
            assert len(gate.arrivals) == 1


async def test_a_steward_that_was_relieved_does_nothing_until_it_is_appointed_again(
    server: str, docket_name: str
) -> None:
    async with (
        proxy_to(server) as proxy,
        Docket(docket_name, proxy.url) as docket,
        at_work(Worker(docket)) as worker,
    ):
        await result_of(await docket.add(nothing)())
        worker.appoint_steward(False)
        looks = promotions(proxy)
        due = datetime.now(UTC) + timedelta(seconds=0.05)
        execution = await docket.add(nothing, when=due)()
        # An exchange would promote it on its way, so there is none before the steward is back.
        worker.appoint_steward(True)
        await result_of(execution)
        assert looks


async def test_a_steward_goes_on_after_the_server_was_away(server: str, docket_name: str) -> None:
    async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
        docket.register(nothing)
        async with at_work(Worker(docket)):
            refused = proxy.intercept(calls(scripts.PROMOTE), Do.ANSWER, times=2, error="LOADING x")
            early = datetime.now(UTC) + timedelta(seconds=0.05)
            await result_of(await docket.add(nothing, when=early)())
            await until(lambda: refused.times == 0)


async def test_lost_leases_are_swept_and_run_again(server: str, docket_name: str) -> None:
    async with store_at(server, docket_name) as store, Docket(docket_name, server) as docket:

        async def run() -> None:
            pass

        docket.register(run, names=["f"])
        await dead_run(store)
        # It beats, and does not renew: its keeper lives, its run is forgotten.
        await store.client.zadd(store.keys.workers, {"dead": 1e15})
        timeout = timedelta(milliseconds=400)
        async with at_work(Worker(docket, redelivery_timeout=timeout)) as worker:
            await until(lambda: worker.counters.redelivered == 1)


async def test_the_steward_reports_the_backlog_again_and_again(
    docket: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docket.services.steward.BACKLOG_SECONDS", 0.01)
    docket.register(nothing)
    await docket.add(nothing, when=datetime.now(UTC) + timedelta(hours=1))()
    told = Told()
    async with at_work(Worker(docket), told):
        for _ in range(2):
            backlog = await soon(told.backlogs.get())
            assert (backlog.scheduled, backlog.queued, backlog.workers) == (1, 0, 1)


async def test_a_worker_that_is_not_the_steward_reports_no_backlog(
    docket: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docket.services.steward.BACKLOG_SECONDS", 0.01)
    told, other = Told(), Told()
    async with at_work(Worker(docket), told), at_work(worker := Worker(docket), other):
        worker.appoint_steward(False)
        await soon(told.backlogs.get())
        while not other.backlogs.empty():
            other.backlogs.get_nowait()
        for _ in range(3):
            await soon(told.backlogs.get())
        assert other.backlogs.qsize() <= 1  # the one that was under way
