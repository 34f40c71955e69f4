"""Wake-ups between workers: none is lost, however the workers come and go."""

import asyncio
import random

import pytest

from docket import Docket, Worker
from docket.store import scripts
from tests.support.dockets import Gate, at_work, look, result_of, soon
from tests.support.proxy import Do, calls, proxy_to, word
from tests.support.store import Store, store_at, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def only_wakeups(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look every two seconds: a lost wake-up is then a hang."""
    monkeypatch.setattr("docket.services.service_group.WAKEUP_SECONDS", 1000.0)


@pytest.mark.usefixtures("only_wakeups")
@pytest.mark.parametrize("seed", range(6))
async def test_whatever_the_interleaving_every_task_runs_without_a_timers_help(
    server: str, docket_name: str, seed: int
) -> None:
    chance = random.Random(seed)
    ran: list[int] = []

    async def work(n: int, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        ran.append(n)

    async with Docket(docket_name, server) as docket:
        docket.register(work)
        workers = [Worker(docket, concurrency=chance.choice([1, 2, 5])) for _ in range(3)]
        async with at_work(workers[0]), at_work(workers[1]), at_work(workers[2]):
            count = 0
            for _ in range(40):
                size = chance.choice([1, 1, 2, 7, 20])
                turns = [chance.choice([0, 0, 1, 30]) for _ in range(size)]
                adds = [docket.add(work)(count + n, turns[n]) for n in range(size)]
                count += size
                executions = await asyncio.gather(*adds)
                if chance.random() < 0.5:
                    await result_of(executions[-1])
            await until(lambda: len(ran) == count, f"{count} runs (there were {len(ran)})")
            assert sorted(ran) == list(range(count))


@pytest.mark.usefixtures("only_wakeups")
async def test_a_token_that_a_full_worker_took_goes_to_an_idle_one(
    server: str, docket_name: str
) -> None:
    gate = Gate()

    async def wait(n: int) -> None:
        await gate.pass_through(n)

    async with Docket(docket_name, server) as docket, store_at(server, docket_name) as store:
        docket.register(wait)
        one, two = Worker(docket, concurrency=1), Worker(docket, concurrency=1)
        async with at_work(one), at_work(two):
            # One becomes full by a look without a wake-up, and still waits for a wake-up.
            await until(lambda: blocked(store, 2))
            await docket.add(wait)(1)
            look(one)
            await until(lambda: len(gate.arrivals) == 1)
            await docket.add(wait)(2)
            await until(lambda: len(gate.arrivals) == 2)
            gate.opened.set()


async def blocked(store: Store, count: int) -> bool:
    return (await store.client.info("clients"))["blocked_clients"] >= count


@pytest.mark.usefixtures("only_wakeups")
@pytest.mark.parametrize("lost", [Do.LOSE_REPLY, Do.LOSE_CALL], ids=["reply", "call"])
async def test_a_broken_wait_is_taken_for_a_ring(server: str, docket_name: str, lost: Do) -> None:
    async def nothing() -> None:
        pass

    async with (
        store_at(server, docket_name) as store,
        Docket(docket_name, server) as producer,
        proxy_to(server) as proxy,
        Docket(docket_name, proxy.url) as docket,
    ):
        docket.register(nothing)
        interception = proxy.intercept(word(b"BLPOP"), lost)
        async with at_work(Worker(docket)):
            if lost is Do.LOSE_REPLY:
                await until(lambda: blocked(store, 1))
            await result_of(await producer.add(nothing)())
            await soon(interception.happened.wait())
            await result_of(await producer.add(nothing)())


@pytest.mark.usefixtures("only_wakeups")
async def test_a_token_whose_passing_on_failed_is_passed_on_again(
    server: str, docket_name: str
) -> None:
    gate = Gate()

    async def wait(n: int) -> None:
        await gate.pass_through(n)

    async with (
        proxy_to(server) as proxy,
        Docket(docket_name, proxy.url) as docket,
        Docket(docket_name, server) as other,
        store_at(server, docket_name) as store,
    ):
        docket.register(wait)
        other.register(wait)
        full = Worker(docket, concurrency=1)
        async with at_work(full):
            held = proxy.intercept(word(b"BLPOP"), Do.HOLD_CALL)
            await soon(held.happened.wait())
            await other.add(wait)(1)
            look(full)
            await until(lambda: len(gate.arrivals) == 1)
            await other.add(wait)(2)
            failing = proxy.intercept(calls(scripts.WAKE_IDLE), Do.LOSE_CALL)
            held.retire.set()
            await soon(failing.happened.wait())

            async def has_token() -> bool:
                return (await store.state()).token

            await until(has_token)
            async with at_work(Worker(other, concurrency=1)):
                await until(lambda: len(gate.arrivals) == 2)
                gate.opened.set()
