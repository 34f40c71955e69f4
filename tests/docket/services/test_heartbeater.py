"""The keeper: heartbeat and leases go on while the loop is blocked, and stop when it hangs."""

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from docket import Docket, Worker
from docket.execution import ExecutionState
from docket.store import scripts
from tests.support.dockets import Gate, Told, at_work, found, result_of, soon
from tests.support.proxy import Do, Proxy, calls, proxy_to
from tests.support.store import Store, store_at, until

pytestmark = pytest.mark.anyio

LEASE = timedelta(milliseconds=600)


class Watching(Told):
    """Also what the keeper said, on its thread."""

    def __init__(self) -> None:
        super().__init__()
        self.blocking_keys: list[str | None] = []
        self.broken = False

    def beat(self, lag_seconds: float, blocking_key: str | None) -> None:
        self.blocking_keys.append(blocking_key)
        if self.broken:
            raise OSError("the pipe to the runtime is gone")


async def sweep_until(url: str, docket_name: str, enough: Callable[[int], bool]) -> int:
    """Sweeps, with a view that was never interrupted, until `enough` of what it has moved."""
    async with store_at(url, docket_name) as store:
        moved = 0
        while not enough(moved):
            moved += await store.sweep_now(LEASE)
        return moved


def swept_from_a_thread(url: str, docket_name: str, enough: Callable[[int], bool]) -> int:
    """Blocks the loop it is called in while another one, in a thread, sweeps."""
    moved: list[int] = []
    thread = threading.Thread(
        target=lambda: moved.append(asyncio.run(sweep_until(url, docket_name, enough)))
    )
    thread.start()
    thread.join()
    return moved[0]


async def run_with_keeper(
    worker: Worker, told: Told, stall_timeout_seconds: float, interval: float = 0.02
) -> asyncio.Task[None]:
    running = asyncio.create_task(
        worker.run_supervised(
            told,
            stall_timeout_seconds=stall_timeout_seconds,
            keeper_interval_seconds=interval,
        )
    )
    await soon(told.is_ready.wait())
    return running


async def test_a_task_that_blocks_the_loop_keeps_its_lease_far_beyond_the_timeout(
    server: str, docket_name: str
) -> None:
    swept: list[int] = []

    async def block() -> None:
        end = time.monotonic() + 3 * LEASE.total_seconds()
        swept.append(swept_from_a_thread(server, docket_name, lambda _: time.monotonic() > end))

    async with Docket(docket_name, server) as docket:
        told = Watching()
        worker = Worker(docket, redelivery_timeout=LEASE)
        running = await run_with_keeper(worker, told, stall_timeout_seconds=60)
        execution = await docket.add(block, key="blocks")()
        await result_of(execution)
        worker.drain()
        await soon(running)

    assert swept == [0]
    assert worker.counters.superseded == 0
    assert "blocks" in told.blocking_keys


async def test_a_loop_that_is_silent_for_too_long_loses_its_leases_and_the_run_is_stopped(
    server: str, docket_name: str
) -> None:
    swept: list[int] = []
    after = Gate()

    async def hang() -> None:
        if not swept:
            swept.append(swept_from_a_thread(server, docket_name, lambda moved: moved > 0))
        await after.pass_through()

    async with Docket(docket_name, server) as docket:
        worker = Worker(docket, redelivery_timeout=LEASE)
        running = await run_with_keeper(worker, Told(), stall_timeout_seconds=0.1)
        execution = await docket.add(hang)()
        # The run that hung is told that its lease is lost; the next run goes through.
        await until(lambda: len(after.arrivals) == 2)
        await until(lambda: worker.counters.superseded == 1)
        after.opened.set()
        await result_of(execution)
        worker.drain()
        await soon(running)
    assert swept == [1]


async def test_a_cancellation_whose_message_was_lost_is_seen_when_the_lease_is_renewed(
    server: str, docket_name: str
) -> None:
    gate = Gate()

    async def wait() -> None:
        await gate.pass_through()

    async with (
        Docket(docket_name, server) as docket,
        store_at(server, docket_name) as store,
        at_work(Worker(docket, redelivery_timeout=LEASE)) as worker,
    ):
        execution = await docket.add(wait, key="k")()
        await soon(gate.reached.wait())
        # What cancel.lua writes, without what it publishes.
        await store.client.hset(store.keys.record("k"), "cancel", "1")
        await until(lambda: worker.counters.cancelled == 1)
        await execution.sync()
        assert execution.state is ExecutionState.CANCELLED


async def a_renewal(store: Store) -> None:
    """Returns when the oldest lease of the stream has begun anew."""
    oldest = 0

    async def has_begun() -> bool:
        nonlocal oldest
        rows = await store.client.xpending_range(store.keys.stream, "workers", "-", "+", 1)
        earlier, oldest = oldest, rows[0]["time_since_delivered"]
        return oldest < earlier

    await until(has_begun)


async def test_a_run_that_was_replaced_goes_on_over_many_renewals_and_ends_by_itself(
    server: str, docket_name: str
) -> None:
    gate, ended = Gate(), list[str]()

    async def wait(what: str) -> str:
        await gate.pass_through(what)
        ended.append(what)
        return what

    async with (
        Docket(docket_name, server) as docket,
        store_at(server, docket_name) as store,
        at_work(Worker(docket, redelivery_timeout=LEASE)) as worker,
    ):
        await docket.add(wait, key="k")("old")
        await soon(gate.reached.wait())
        before = await found(docket, "k")
        replaced = await docket.replace(wait, when=before.when, key="k")("new")
        for _ in range(5):
            await a_renewal(store)
        assert worker.counters.superseded == 0
        gate.opened.set()
        assert await result_of(replaced) == "new"
        await until(lambda: worker.counters.superseded == 1)
        assert sorted(ended) == ["new", "old"]


async def test_heartbeats_are_written_again_soon_after_an_outage(
    server: str, docket_name: str
) -> None:
    async with (
        proxy_to(server) as proxy,
        Docket(docket_name, proxy.url, heartbeat_interval=timedelta(minutes=1)) as docket,
        store_at(server, docket_name) as store,
    ):
        worker = Worker(docket)
        lost = proxy.intercept(calls(scripts.BEAT), Do.LOSE_CALL, times=2)
        # Ready once one is written; the next would be due in a minute.
        running = await run_with_keeper(worker, Told(), stall_timeout_seconds=60)
        assert lost.times == 0
        assert worker.consumer.encode() in await store.transitions.beats()
        worker.drain()
        await soon(running)


async def test_heartbeats_that_are_never_written_hold_up_no_renewal(
    server: str, docket_name: str
) -> None:
    gate = Gate()

    async def waits() -> None:
        await gate.pass_through()

    often = timedelta(seconds=0.2)
    async with (
        proxy_to(server) as proxy,
        # Far more may be missed than are: it is not held for want of them.
        Docket(
            docket_name, proxy.url, heartbeat_interval=often, missed_heartbeats=10_000
        ) as docket,
    ):
        worker = Worker(docket, redelivery_timeout=LEASE)
        running = await run_with_keeper(worker, Told(), stall_timeout_seconds=60)
        lost = proxy.intercept(calls(scripts.BEAT), Do.LOSE_CALL, times=10_000)
        await until(lambda: lost.times < 10_000)
        await docket.add(waits, key="k")()
        await soon(gate.reached.wait())
        for _ in range(2):
            renewed = proxy.intercept(calls(scripts.RENEW), Do.HOLD_REPLY)
            await soon(renewed.happened.wait())
            renewed.retire.set()
        assert lost.times < 9_999
        gate.opened.set()
        worker.drain()
        await soon(running)


async def test_a_keeper_that_breaks_ends_its_worker_with_its_error(
    server: str, docket_name: str
) -> None:
    async with Docket(docket_name, server) as docket, store_at(server, docket_name) as store:
        told = Watching()
        running = await run_with_keeper(Worker(docket), told, stall_timeout_seconds=60)
        told.broken = True
        with pytest.raises(OSError, match="pipe to the runtime"):
            await soon(running)
        assert (await store.state()).workers == frozenset()


class TestAWorkerWhoseKeeperIsShutOut:
    """What it claimed, others would take to be a dead worker's."""

    FULL = "ERR max number of clients reached"

    async def test_it_is_not_ready_before_its_first_heartbeat_and_claims_nothing(
        self, server: str, docket_name: str
    ) -> None:
        async with proxy_to(server) as proxy, self.docket(docket_name, proxy) as docket:
            refused = proxy.intercept(
                calls(scripts.BEAT), Do.ANSWER, times=-1, error=f"ERR {self.FULL}"
            )
            told = Told()
            execution = await docket.add(returns, key="k")("done")
            running = asyncio.create_task(Worker(docket).run_supervised(told))
            await soon(told.is_waiting.wait())
            assert "cannot be renewed" in told.reasons[0]
            assert self.FULL.removeprefix("ERR ") in told.reasons[0]
            await execution.sync()
            assert (told.is_ready.is_set(), execution.state) == (False, ExecutionState.QUEUED)

            proxy.relent(refused)
            await soon(told.is_ready.wait())
            assert await result_of(execution) == "done"
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def test_it_drains_all_the_same(self, server: str, docket_name: str) -> None:
        async with proxy_to(server) as proxy, self.docket(docket_name, proxy) as docket:
            proxy.intercept(calls(scripts.BEAT), Do.ANSWER, times=-1, error=self.FULL)
            told, worker = Told(), Worker(docket)
            running = asyncio.create_task(worker.run_supervised(told))
            await soon(told.is_waiting.wait())
            worker.drain()
            await soon(running)
            assert not told.is_ready.is_set()

    async def test_it_claims_no_more_until_it_is_let_in_again_and_what_runs_goes_on(
        self, server: str, docket_name: str
    ) -> None:
        gate = Gate()

        async def waits() -> str:
            await gate.pass_through()
            return "waited"

        async with proxy_to(server) as proxy, self.docket(docket_name, proxy) as docket:
            docket.register(returns)
            told = Told()
            async with at_work(Worker(docket), told):
                first = await docket.add(waits)()
                await soon(gate.reached.wait())
                told.is_ready.clear()
                refused = proxy.intercept(
                    calls(scripts.BEAT), Do.ANSWER, times=-1, error=f"ERR {self.FULL}"
                )
                await soon(told.is_waiting.wait())
                second = await docket.add(returns)("done")
                gate.opened.set()
                assert await result_of(first) == "waited"
                await second.sync()
                assert second.state is ExecutionState.QUEUED

                proxy.relent(refused)
                await soon(told.is_ready.wait())
                assert await result_of(second) == "done"
            assert len(told.reasons) == 1

    async def test_it_learns_that_others_have_taken_what_it_runs(
        self, server: str, docket_name: str
    ) -> None:
        gate = Gate()

        async def waits() -> str:
            await gate.pass_through()
            return "waited"

        async with (
            proxy_to(server) as proxy,
            self.docket(docket_name, proxy) as docket,
            store_at(server, docket_name) as store,
        ):
            told = Told()
            async with at_work(Worker(docket), told) as worker:
                execution = await docket.add(waits)()
                await soon(gate.reached.wait())
                refused = proxy.intercept(calls(scripts.BEAT), Do.ANSWER, times=-1, error=self.FULL)
                await soon(told.is_waiting.wait())
                told.is_ready.clear()
                assert await store.adopt(worker.consumer, "nobody") == (1, [])
                await until(lambda: worker.counters.superseded == 1)
                assert not told.is_ready.is_set()

                proxy.relent(refused)
                await soon(told.is_ready.wait())
                gate.opened.set()
                assert await result_of(execution) == "waited"

    @staticmethod
    def docket(name: str, proxy: Proxy) -> Docket:
        # Nobody else is there who would take it for dead.
        return Docket(name, proxy.url, heartbeat_interval=timedelta(milliseconds=100))


async def returns(what: str) -> str:
    return what
