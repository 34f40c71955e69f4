"""Results and exceptions in a storage of the user's, by the protocol of py-key-value-aio."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest

from docket import Docket, Execution, ExecutionState, Perpetual, Worker
from docket.errors import DeserializationError, DocketError, ResultUnavailable, TaskError
from tests.support.dockets import PATIENCE, at_work, failure_of, finish, found, result_of, soon
from tests.support.store import until

pytestmark = pytest.mark.anyio


class Storage:
    """Keeps JSON, as stores do."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.ttls: list[float | None] = []
        self.fault: Exception | None = None
        self.hold: asyncio.Event | None = None
        self.reached = asyncio.Event()

    async def put(self, key: str, value: dict[str, Any], *, ttl: float | None = None) -> None:
        self.reached.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.fault is not None:
            raise self.fault
        self.kept[key] = json.dumps(value)
        self.ttls.append(ttl)

    async def get(self, key: str) -> dict[str, Any] | None:
        return json.loads(self.kept[key]) if key in self.kept else None


@pytest.fixture
def storage() -> Storage:
    return Storage()


@pytest.fixture
async def docket(server: str, docket_name: str, storage: Storage) -> AsyncGenerator[Docket]:
    ttl = timedelta(seconds=90)
    async with Docket(docket_name, server, execution_ttl=ttl, result_storage=storage) as docket:
        yield docket


async def double(n: int) -> int:
    return 2 * n


@pytest.mark.statement(33)
async def test_a_storage_with_a_setup_is_set_up_whenever_a_docket_is_entered(
    server: str, docket_name: str
) -> None:
    class SetUp(Storage):
        times = 0

        async def setup(self) -> None:
            assert not self.kept
            self.times += 1

    storage = SetUp()
    docket = Docket(docket_name, server, result_storage=storage)
    assert storage.times == 0
    async with docket:
        assert storage.times == 1
        execution = await docket.add(double)(2)
        await finish(docket)
        assert await result_of(execution) == 4
        assert docket.result_storage is storage
        storage.kept.clear()
    async with docket, Docket(docket_name, server, result_storage=storage):
        assert storage.times == 3


@pytest.mark.statement(33)
async def test_a_setup_that_fails_leaves_the_docket_closed(server: str, docket_name: str) -> None:
    class Broken(Storage):
        async def setup(self) -> None:
            raise OSError("no such disk")

    docket = Docket(docket_name, server, result_storage=Broken())

    with pytest.raises(OSError, match="no such disk"):
        await docket.__aenter__()
    with pytest.raises(DocketError, match="is not open"):
        _ = docket.connections


@pytest.mark.statement(33)
@pytest.mark.parametrize("serializer", ["pickle", "msgpack"])
async def test_without_one_an_open_docket_has_a_storage_that_knows_its_results(
    server: str, docket_name: str, serializer: Literal["pickle", "msgpack"]
) -> None:
    async with Docket(docket_name, server, serializer=serializer) as docket:
        storage = docket.result_storage
        assert storage is not None
        returned, failed = await docket.add(double)(21), await docket.add(fails)()
        empty = await docket.add(nothing)()
        await finish(docket)
        for execution in (returned, failed, empty):
            await execution.sync()

        assert returned.result_key is not None
        value = await storage.get(returned.result_key)
        assert value is not None
        payload = base64.b64decode(value["data"])
        assert docket.serializer.decode_result(double, payload) == 42
        assert failed.result_key is not None
        assert await storage.get(failed.result_key) is not None
        assert empty.result_key is None
        assert await storage.get("nobody's") is None


@pytest.mark.statement(33)
async def test_what_a_program_puts_into_that_storage_is_there_until_it_expires(
    server: str, docket_name: str
) -> None:
    async with Docket(docket_name, server) as docket:
        storage = docket.result_storage
        assert storage is not None
        await storage.put("mine", {"data": "gAVLKi4="})
        await storage.put("brief", {"data": "gAVLKi4=", "more": [1, None]}, ttl=90.0)
        execution = Execution(docket, double, (1,), {}, "k", datetime.now(UTC), 1)
        await execution.schedule()
        await execution.mark_as_completed(result_key="mine")

        assert await storage.get("brief") == {"data": "gAVLKi4=", "more": [1, None]}
        assert await (await found(docket, "k")).get_result() == 42
        async with docket.redis() as redis:
            assert 0 < await redis.ttl(docket.keys.result("brief")) <= 90
            assert await redis.ttl(docket.keys.result("mine")) == -1


async def nothing() -> None: ...


async def fails() -> None:
    raise KeyError("sold out")


async def test_a_result_is_kept_there_and_not_in_the_record(
    docket: Docket, storage: Storage
) -> None:
    execution = await docket.add(double, key="k")(21)
    await finish(docket)

    assert await result_of(execution) == 42
    assert execution.result_key == "k:1"
    assert list(storage.kept) == ["k:1"]
    assert storage.ttls == [90.0]
    assert b"result" not in await docket.transitions.fetch("k")


async def test_an_exception_is_kept_there_and_raised(docket: Docket, storage: Storage) -> None:
    execution = await docket.add(fails, key="k")()
    await finish(docket)

    error = await failure_of(execution)
    assert isinstance(error, KeyError)
    assert error.args == ("sold out",)
    assert (execution.error, execution.result_key) == ("KeyError: 'sold out'", "k:1")
    assert b"result" not in await docket.transitions.fetch("k")


async def test_nothing_is_kept_of_a_task_that_returns_nothing(
    docket: Docket, storage: Storage
) -> None:
    execution = await docket.add(nothing)()
    await finish(docket)

    assert await result_of(execution) is None
    assert execution.result_key is None
    assert storage.kept == {}


async def test_each_execution_of_a_key_has_a_result_of_its_own(
    docket: Docket, storage: Storage
) -> None:
    for n in (1, 2):
        execution = await docket.add(double, key="k")(n)
        await finish(docket)
        assert await result_of(execution) == 2 * n
    assert sorted(storage.kept) == ["k:1", "k:2"]


async def test_a_result_that_is_gone_is_a_clear_error(docket: Docket, storage: Storage) -> None:
    execution = await docket.add(double)(1)
    await finish(docket)
    storage.kept.clear()

    with pytest.raises(ResultUnavailable, match=r"not in the result storage \(any more\)"):
        await execution.get_result()


async def test_an_exception_that_is_gone_is_told_by_its_text(
    docket: Docket, storage: Storage
) -> None:
    execution = await docket.add(fails)()
    await finish(docket)
    storage.kept.clear()

    error = await failure_of(execution)
    assert isinstance(error, TaskError)
    assert "KeyError: 'sold out'" in str(error)


@pytest.mark.parametrize("kept", ['{"data": "no base64!"}', '{"data": 7}', "{}"])
async def test_what_is_no_result_is_a_clear_error(
    docket: Docket, storage: Storage, kept: str
) -> None:
    execution = await docket.add(double, key="k")(1)
    await finish(docket)
    storage.kept["k:1"] = kept

    with pytest.raises(DeserializationError, match="is no result of this library"):
        await execution.get_result()


async def test_a_result_that_cannot_be_kept_fails_its_task(
    docket: Docket, storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    storage.fault = OSError("disk full")
    execution = await docket.add(double, key="k")(1)
    await finish(docket)

    error = await failure_of(execution)
    assert isinstance(error, OSError)
    assert error.args == ("disk full",)
    assert "cannot be put into the result storage" in caplog.text


async def test_an_exception_that_cannot_be_kept_stays_in_the_record(
    docket: Docket, storage: Storage
) -> None:
    storage.fault = OSError("disk full")
    execution = await docket.add(fails)()
    await finish(docket)

    assert isinstance(await failure_of(execution), KeyError)


async def test_a_task_that_is_interrupted_while_its_result_is_put_away_is_run_again(
    docket: Docket, storage: Storage
) -> None:
    storage.hold = asyncio.Event()
    execution = await docket.add(double)(1)
    async with at_work(Worker(docket)):
        await soon(storage.reached.wait())
    assert (await found(docket, execution.key)).state is ExecutionState.QUEUED

    storage.hold.set()
    await finish(docket)
    assert await execution.get_result(timeout=PATIENCE) == 2


async def test_a_perpetual_task_keeps_no_results(docket: Docket, storage: Storage) -> None:
    async def tick(perpetual: Perpetual = Perpetual(every=timedelta(hours=1))) -> int:
        return 1

    await docket.add(tick, key="tick")()
    async with at_work(Worker(docket)) as worker:
        await until(lambda: worker.counters.perpetuated == 1, "the end of its first run")

    assert storage.kept == {}


async def test_nothing_is_kept_if_nothing_is_kept_of_executions(
    server: str, docket_name: str, storage: Storage
) -> None:
    async with Docket(
        docket_name, server, execution_ttl=timedelta(0), result_storage=storage
    ) as docket:
        await docket.add(double)(1)
        await finish(docket)

    assert storage.kept == {}


async def test_a_result_that_was_put_away_by_hand_is_found(
    docket: Docket, storage: Storage
) -> None:
    execution = Execution(docket, double, (1,), {}, "k", datetime.now(UTC), 1)
    await execution.schedule()
    await execution.claim("me")
    await storage.put("mine", {"data": "gAVLKi4="})
    await execution.mark_as_completed(result_key="mine")

    assert await (await found(docket, "k")).get_result() == 42


async def test_msgpack_results_are_kept_there_as_well(
    server: str, docket_name: str, storage: Storage
) -> None:
    async with Docket(docket_name, server, result_storage=storage, serializer="msgpack") as docket:
        results = [await docket.add(double)(4), await docket.add(fails)()]
        await finish(docket)

        assert await result_of(results[0]) == 8
        assert isinstance(await failure_of(results[1]), TaskError)
    assert len(storage.kept) == 2
