"""Cancelling on a real worker: heard at once, not lost with its message, right in every state."""

import asyncio
from datetime import timedelta

import pytest

from docket import Docket, Worker
from docket.errors import ExecutionCancelled
from docket.execution import ExecutionState
from docket.store import scripts
from tests.support.dockets import Gate, at_work, failure_of, found, result_of, soon
from tests.support.proxy import Do, calls, proxy_to
from tests.support.store import Store, store_at, until

pytestmark = pytest.mark.anyio

LEASE = timedelta(milliseconds=600)


async def test_a_run_that_is_cancelled_ends_where_it_waits(server: str, docket_name: str) -> None:
    gate = Gate()
    stopped = asyncio.Event()

    async def wait() -> None:
        try:
            await gate.pass_through()
        finally:
            stopped.set()

    async with Docket(docket_name, server) as docket, at_work(Worker(docket)) as worker:
        execution = await docket.add(wait, key="k")()
        await soon(gate.reached.wait())
        await docket.cancel("k")
        await soon(stopped.wait())
        assert isinstance(await failure_of(execution), ExecutionCancelled)
        await until(lambda: worker.counters.cancelled == 1)


async def test_a_cancellation_of_somebody_elses_run_is_none_of_ours(
    server: str, docket_name: str
) -> None:
    gate = Gate()

    async def wait(what: str) -> str:
        await gate.pass_through(what)
        return what

    async with Docket(docket_name, server) as docket:
        docket.register(wait)
        executions = {key: await docket.add(wait, key=key)(key) for key in ("a", "b")}
        one, two = Worker(docket, concurrency=1), Worker(docket, concurrency=1)
        async with at_work(one), at_work(two):
            await until(lambda: len(gate.arrivals) == 2)
            await docket.cancel("a")
            assert isinstance(await failure_of(executions["a"]), ExecutionCancelled)
            gate.opened.set()
            assert await result_of(executions["b"]) == "b"
            assert one.counters.cancelled + two.counters.cancelled == 1


async def test_a_task_that_will_not_be_cancelled_ends_as_it_ends(
    server: str, docket_name: str
) -> None:
    gate = Gate()

    async def stubborn() -> str:
        try:
            await gate.pass_through()
        except asyncio.CancelledError:
            return "after all"
        return "never cancelled"

    async with Docket(docket_name, server) as docket, at_work(Worker(docket)):
        execution = await docket.add(stubborn, key="k")()
        await soon(gate.reached.wait())
        await docket.cancel("k")
        assert await result_of(execution) == "after all"


async def test_a_cancellation_heard_by_nobody_is_found_in_the_record(
    server: str, docket_name: str
) -> None:
    gate = Gate()

    async def wait() -> None:
        await gate.pass_through()

    async with (
        proxy_to(server) as proxy,
        Docket(docket_name, proxy.url) as docket,
        Docket(docket_name, server) as other,
        at_work(Worker(docket, redelivery_timeout=LEASE)) as worker,
    ):
        await docket.add(wait, key="k")()
        await soon(gate.reached.wait())
        await proxy.refuse()
        await other.cancel("k")
        await proxy.open()
        await until(lambda: worker.counters.cancelled == 1)
        assert (await found(other, "k")).state is ExecutionState.CANCELLED


async def test_a_run_that_was_cancelled_before_its_claim_was_heard_of_never_runs(
    server: str, docket_name: str
) -> None:
    ran = False

    async def run() -> None:
        nonlocal ran
        ran = True

    async with (
        proxy_to(server) as proxy,
        Docket(docket_name, proxy.url) as docket,
        store_at(server, docket_name) as store,
    ):
        docket.register(run, names=["f"])
        async with at_work(Worker(docket)):
            await until(lambda: is_idle(store))
            held = proxy.intercept(calls(scripts.EXCHANGE), Do.HOLD_REPLY, cut_client=True)
            await store.add("k")
            await soon(held.happened.wait())
            assert await store.transitions.cancel("k") == "signalled"
            held.retire.set()
            await until(lambda: state_is(store, "k", "cancelled"))
            await result_of(await docket.add(run)())
            assert (await store.record("k"))["state"] == "cancelled"


async def is_idle(store: Store) -> bool:
    """Whether a worker waits for a wake-up, having found nothing."""
    return (await store.client.info("clients"))["blocked_clients"] == 1


async def state_is(store: Store, key: str, state: str) -> bool:
    return (await store.record(key)).get("state") == state


async def test_a_result_whose_message_was_lost_is_found_all_the_same(
    server: str, docket_name: str
) -> None:
    gate = Gate()

    async def wait() -> str:
        await gate.pass_through()
        return "there"

    async with Docket(docket_name, server) as docket, at_work(Worker(docket)) as worker:
        execution = await docket.add(wait, key="k")()
        await soon(gate.reached.wait())
        async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as waiter:
            waiting = asyncio.create_task(result_of(await found(waiter, "k")))
            await until(lambda: proxy.accepted == 2)
            await proxy.refuse()
            gate.opened.set()
            await until(lambda: worker.counters.succeeded == 1)
            await proxy.open()
            assert await waiting == "there"
        assert await result_of(execution) == "there"


async def test_a_cancellation_that_overtakes_the_reply_of_the_claim_stops_the_run_at_once(
    server: str, docket_name: str
) -> None:
    """The default lease: the next renewal, which would tell it too, is 15 seconds away."""
    began = asyncio.Event()

    async def run() -> None:
        began.set()
        await asyncio.Event().wait()

    async def nothing() -> None:
        pass

    async with (
        proxy_to(server) as proxy,
        Docket(docket_name, server) as producer,
        Docket(docket_name, proxy.url) as docket,
    ):
        docket.register(run)
        docket.register(nothing)
        async with at_work(Worker(docket)) as worker:
            # A server that does not know the script yet is sent it by another command.
            await result_of(await producer.add(nothing)())
            held = proxy.intercept(calls(scripts.EXCHANGE), Do.HOLD_REPLY)
            execution = await producer.add(run, key="k")()
            await soon(held.happened.wait())
            while (await found(producer, "k")).state is not ExecutionState.RUNNING:
                # It had looked before there was anything.
                empty, held = held, proxy.intercept(calls(scripts.EXCHANGE), Do.HOLD_REPLY)
                empty.retire.set()
                await soon(held.happened.wait())
            heard = asyncio.Event()
            async with docket.connections.subscriber.listening(
                docket.keys.cancel_channel, lambda _: heard.set()
            ):
                await producer.cancel("k")
                await soon(heard.wait())
            assert not began.is_set()
            held.retire.set()
            async with asyncio.timeout(10):
                assert isinstance(await failure_of(execution), ExecutionCancelled)
            await until(lambda: worker.counters.cancelled == 1)
        assert not began.is_set()


async def test_a_cancellation_that_nobody_heard_is_seen_as_soon_as_we_listen_again(
    server: str, docket_name: str
) -> None:
    gate = Gate()
    stopped = asyncio.Event()

    async def wait() -> None:
        try:
            await gate.pass_through()
        finally:
            stopped.set()

    async with (
        proxy_to(server) as proxy,
        Docket(docket_name, proxy.url) as docket,
        Docket(docket_name, server) as outside,
        at_work(Worker(docket)),
    ):
        await docket.add(wait, key="k")()
        await soon(gate.reached.wait())
        await proxy.refuse()
        await outside.cancel("k")
        await proxy.open()
        # The next renewal of itself, which would see it too, is due after fifteen seconds.
        async with asyncio.timeout(10):
            await stopped.wait()
