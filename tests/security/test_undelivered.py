"""Streams that somebody changed so that nobody is given their tasks: a worker delivers them."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from docket import Docket, Worker
from docket.store.keys import WORKER_GROUP
from tests.support.dockets import at_work, result_of

pytestmark = pytest.mark.anyio

LAST = f"{2**64 - 1}-{2**64 - 1}"
STREAMS = ("stream", "redelivery", "quarantine")


async def nothing() -> None: ...


@pytest.fixture
async def docket(server: str, docket_name: str) -> AsyncGenerator[Docket]:
    async with Docket(docket_name, server) as opened:
        opened.register(nothing)
        yield opened


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docket.services.steward.RECOVERY_SECONDS", 0.05)


async def deliver_the_rest(docket: Docket) -> None:
    for stream in STREAMS:
        await docket.connections.client().xgroup_setid(
            getattr(docket.keys, stream), WORKER_GROUP, LAST
        )


async def use_the_ids_up(docket: Docket) -> None:
    for stream in STREAMS:
        await docket.connections.client().xadd(getattr(docket.keys, stream), {"k": "evil"}, id=LAST)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("attack", [deliver_the_rest, use_the_ids_up])
async def test_what_waits_is_run_and_the_worker_goes_on(
    docket: Docket, attack: Callable[[Docket], Awaitable[None]]
) -> None:
    async with Worker(docket) as worker:
        await worker.run_until_finished()  # The streams have their groups.
    soon = datetime.now(UTC) + timedelta(milliseconds=50)
    waiting = await docket.add(nothing, key="waits")()
    scheduled = await docket.add(nothing, soon, key="scheduled")()
    await attack(docket)

    async with at_work(Worker(docket)):
        await result_of(waiting)
        await result_of(scheduled)
        await result_of(await docket.add(nothing, key="later")())
