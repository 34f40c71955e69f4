"""A real server that takes no writes for a while, without memory or as a replica: nothing fails."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

import docket.store
from docket import ConcurrencyLimit, Docket, Worker
from docket.store.embedded import embedded_server
from tests.support.dockets import Gate, Told, at_work, result_of, soon
from tests.support.store import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

Refuse = Callable[[Redis], Awaitable[Any]]


@pytest.fixture
def own_server() -> Iterator[str]:
    """Nobody else's: what it refuses it refuses to all."""
    server = embedded_server.start(f"memory://{uuid4().hex}")
    try:
        yield server.url
    finally:
        server.stop()


async def out_of_memory(client: Redis) -> None:
    await client.config_set("maxmemory", "100kb")


async def memory_again(client: Redis) -> None:
    await client.config_set("maxmemory", "0")


async def a_replica(client: Redis) -> None:
    await client.execute_command("REPLICAOF", "127.0.0.1", 1)


async def a_primary_again(client: Redis) -> None:
    await client.execute_command("REPLICAOF", "NO", "ONE")


@pytest.mark.parametrize(
    ("refuse", "accept"), [(out_of_memory, memory_again), (a_replica, a_primary_again)]
)
async def test_tasks_that_end_wait_for_slots_or_are_claimed_meanwhile_all_complete(
    own_server: str, docket_name: str, refuse: Refuse, accept: Refuse
) -> None:
    gate = Gate()

    async def free(number: int) -> int:
        await gate.pass_through(number)
        return number

    async def limited(
        customer: Annotated[int, ConcurrencyLimit(max_concurrent=1)], number: int
    ) -> int:
        await gate.pass_through(number)
        return number

    async with Docket(docket_name, own_server) as docket, Redis.from_url(own_server) as client:
        told = Told()
        async with at_work(Worker(docket, concurrency=4), told):
            waiting = [await docket.add(limited)(1, n) for n in range(10)]
            waiting += [await docket.add(free)(n) for n in range(10, 20)]
            await soon(gate.reached.wait())
            told.is_waiting.clear()
            await refuse(client)
            gate.opened.set()
            # Out of memory a script that begins by giving memory back may go on: no waiting then.
            if refuse is a_replica:
                await soon(told.is_waiting.wait())
            else:
                await until(lambda: len(gate.arrivals) >= 11)
            await accept(client)
            assert [await result_of(each) for each in waiting] == list(range(20))


async def test_a_task_that_asks_for_its_slot_while_writes_are_refused_is_not_failed(
    own_server: str, docket_name: str
) -> None:
    entered = asyncio.Event()

    async def limited(customer: Annotated[int, ConcurrencyLimit(max_concurrent=1)]) -> int:
        entered.set()
        return customer

    async with Docket(docket_name, own_server) as docket, Redis.from_url(own_server) as client:
        for round_ in range(20):
            async with at_work(Worker(docket)):
                execution = await docket.add(limited)(round_)
                # At any moment: before the claim, between claim and admission, or after.
                await asyncio.gather(out_of_memory(client), soon(asyncio.sleep(0.001 * round_)))
                await memory_again(client)
                assert await result_of(execution) == round_


def test_no_script_puts_its_position_before_the_code_of_an_error() -> None:
    """Lua's error() does, unless told not to, and then nobody knows LOADING for what it is."""
    folder = Path(docket.store.__file__).parent / "lua"
    texts = {path.name: path.read_text() for path in folder.glob("*.lua")}
    raised = [
        (name, call)
        for name, text in texts.items()
        for call in re.findall(r"\berror\((.*)\)\s*$", text, re.MULTILINE)
    ]
    assert raised
    assert [each for each in raised if not each[1].endswith(", 0")] == []
