"""A cancellation that comes together with what was waited for is not lost.

Before Python 3.12, asyncio.wait_for drops one that arrives between the two: a worker whose steward
was woken as it ended never ended. The moments are turns of the loop, so that each is met.
"""

import asyncio
from datetime import timedelta

import pytest

from docket import Docket
from docket.services.steward import Steward
from tests.support.dockets import soon
from tests.support.store import until

pytestmark = pytest.mark.anyio

TURNS = range(6)


async def double(n: int) -> int:
    return 2 * n


async def adopt_nobody(consumer: str) -> None:
    raise AssertionError(f"{consumer} is not dead")


@pytest.mark.parametrize("turns", TURNS)
async def test_a_steward_that_is_woken_while_it_is_cancelled_ends(
    docket: Docket, turns: int
) -> None:
    promotions: list[int] = []
    promote = docket.transitions.promote

    async def promote_and_tell() -> tuple[int, int, int | None]:
        promoted = await promote()
        promotions.append(1)
        return promoted

    docket.transitions.promote = promote_and_tell  # type: ignore[method-assign]
    steward = Steward(
        docket.transitions,
        docket.connections.pipeline,
        docket.connections.subscriber,
        docket.keys,
        lambda: "w.1",
        adopt_nobody,
        heartbeat_interval=timedelta(seconds=2),
        missed_heartbeats=5,
        redelivery_timeout=timedelta(minutes=5),
    )
    steward.appoint(True)
    running = asyncio.create_task(steward.run())
    await until(lambda: bool(promotions))
    await asyncio.sleep(0)

    steward.appoint(False)
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()

    await soon(asyncio.wait([running]))
    assert running.cancelled()


@pytest.mark.parametrize("turns", TURNS)
async def test_a_wait_for_a_result_that_is_told_something_while_it_is_cancelled_ends(
    docket: Docket, turns: int
) -> None:
    execution = await docket.add(double, key="key")(1)
    channel = docket.keys.state_channel("key")
    told = asyncio.Event()
    async with docket.connections.subscriber.listening(channel, lambda _: told.set()):
        waiting = asyncio.create_task(execution.get_result())
        await execution.sync()
        await execution.sync()

        await docket.connections.client().publish(channel, "")
        await soon(told.wait())
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()

        await soon(asyncio.wait([waiting]))
        assert waiting.cancelled()


@pytest.mark.parametrize("turns", TURNS)
async def test_a_call_that_is_cancelled_as_the_connection_comes_is_not_made(
    server: str, docket_name: str, turns: int
) -> None:
    async with Docket(docket_name, server) as docket:
        pipeline = docket.connections.pipeline
        call = asyncio.create_task(pipeline.command("SET", docket.key("called"), "1"))
        await pipeline.connected()
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()

        await soon(asyncio.wait([call]))
        if not call.cancelled():
            assert call.result() in {b"OK", "OK"}
