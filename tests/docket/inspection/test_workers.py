"""Who works on a docket, the keys of a docket, and the client for what one does oneself."""

from datetime import UTC, datetime, timedelta

import pytest

from docket import Docket, Worker
from docket.docket import WorkerInfo
from tests.support.dockets import Gate, Told, at_work, soon
from tests.support.store import until

pytestmark = pytest.mark.anyio

STANDARD = {"trace", "fail", "sleep"}


async def echo(value: object = None) -> object:
    return value


async def test_a_worker_is_announced_under_its_own_name_while_it_can_claim(docket: Docket) -> None:
    docket.register(echo)
    before = datetime.now(UTC)

    async with Worker(docket, name="host.domain#7") as worker:
        assert await docket.workers() == []
        async with at_work(worker):
            [info] = await docket.workers()
            assert isinstance(info, WorkerInfo)
            assert (info.name, info.tasks) == ("host.domain#7", {"echo", *STANDARD})
            assert abs(info.last_seen - before) < timedelta(seconds=20)
        assert await docket.workers() == []


async def test_workers_are_found_by_what_they_can_run(docket: Docket, server: str) -> None:
    async with Docket(docket.name, server) as elsewhere:
        docket.register(echo)
        one, two = Worker(docket, name="one"), Worker(elsewhere, name="two")
        async with at_work(one), at_work(two):
            assert {worker.name for worker in await docket.workers()} == {"one", "two"}
            assert [worker.name for worker in await elsewhere.task_workers("echo")] == ["one"]
            assert len(await docket.task_workers("trace")) == 2
            assert await docket.task_workers("nobody") == []


async def test_a_worker_whose_heartbeat_stopped_is_not_announced(docket: Docket) -> None:
    missed = docket.heartbeat_interval * docket.missed_heartbeats
    seconds, _ = await docket.connections.client().time()
    long_ago = (seconds - missed.total_seconds() - 1) * 1000
    recently = (seconds - missed.total_seconds() + 5) * 1000
    await docket.connections.client().zadd(
        docket.workers_set, {"dead.00000000": long_ago, "alive.00000000": recently}
    )

    assert [worker.name for worker in await docket.workers()] == ["alive"]


async def test_a_worker_that_came_back_under_a_new_consumer_is_announced_once(
    docket: Docket,
) -> None:
    async with Worker(docket, name="one") as worker, at_work(worker):
        seconds, _ = await docket.connections.client().time()
        await docket.connections.client().zadd(
            docket.workers_set, {"one.00000000": (seconds - 2) * 1000}
        )

        [info] = await docket.workers()

    assert (info.name, info.tasks) == ("one", STANDARD)
    assert info.last_seen > datetime.fromtimestamp(seconds - 2, UTC), "the later beat of the two"


async def test_the_worker_of_an_execution_is_its_own_name(docket: Docket) -> None:
    gate = Gate()

    async with Worker(docket, name="host.domain#7") as worker, at_work(worker, Told()):
        execution = await docket.add(gate.pass_through)()
        await soon(gate.reached.wait())
        await execution.sync()
        gate.opened.set()

        assert execution.worker == "host.domain#7"


async def test_the_keys_of_a_docket_are_those_in_redis(docket: Docket) -> None:
    await docket.add(echo, key="now")()
    await docket.add(echo, datetime.now(UTC) + timedelta(hours=1), key="later")()

    async with docket.redis() as redis:
        assert await redis.hget(docket.runs_key("now"), "state") == b"queued"
        assert await redis.xlen(docket.stream_key) == 1
        assert await redis.zrange(docket.queue_key, 0, -1) == [b"later"]
        async with Worker(docket) as worker, at_work(worker):
            await until(lambda: worker.counters.succeeded == 1)
            assert await redis.zcard(docket.workers_set) == 1
    assert docket.key("stream") == docket.stream_key == f"{docket.prefix}:stream"


@pytest.mark.statement(52)
async def test_the_consumer_group_of_the_workers_has_a_name(docket: Docket) -> None:
    async with at_work(Worker(docket)), docket.redis() as redis:
        (group,) = await redis.xinfo_groups(docket.stream_key)

    assert group["name"].decode() == docket.worker_group_name


async def test_every_docket_knows_the_standard_tasks() -> None:
    assert set(Docket().tasks) == STANDARD
