"""The docket of real workers and of adopters, as the settings of the pool say."""

import asyncio
import pickle
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from docket import Docket
from docket.strike_rules import Operator, Strike
from ipc.messages import Adopt, Adopted, Drain, Fault, Ready, Settings, WorkerSettings
from tests.support.nursery import NurseryProcess, started
from tests.support.real_workers import SOURCE, ended, real_pool, with_worker, write_tasks

FACTORIES = """
from docket import Docket
from tests.support.docket_factories import leaving, other_name

def make(name, url):
    return Docket(name, url, serializer="msgpack")
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    module = write_tasks(tmp_path)
    module.write_text(SOURCE + FACTORIES)
    return module


@pytest.fixture
def pool(module: Path, server: str, docket_name: str) -> Settings:
    return real_pool(module, server, docket_name)


@pytest.fixture
def nursery() -> Iterator[NurseryProcess]:
    with started("supervisor.nursery.program") as nursery:
        yield nursery


async def double(number: int) -> int: ...


async def doubled(pool: Settings) -> tuple[int, float]:
    """Of a service on msgpack: the result of a task, and how long its record is kept."""
    docket = Docket(pool.worker.docket, pool.worker.url, serializer="msgpack")
    async with docket, docket.redis() as redis:
        execution = await docket.add(double)(21)
        result = await execution.get_result(timeout=timedelta(seconds=20))
        return result, await redis.ttl(docket.runs_key(execution.key))


@pytest.mark.parametrize("preload", [True, False])
@pytest.mark.parametrize(
    "given",
    [
        {"serializer": "msgpack", "execution_ttl_seconds": 7200.0},
        {"docket_factory": "worker_tasks:make"},
    ],
    ids=["options", "factory"],
)
def test_a_worker_has_the_docket_of_the_settings(
    nursery: NurseryProcess, pool: Settings, given: dict[str, Any], preload: bool
) -> None:
    nursery.load(structs.replace(with_worker(pool, **given), preload=preload))
    worker = nursery.spawn()
    worker.next(Ready)

    result, kept_seconds = asyncio.run(doubled(pool))

    assert result == 42
    assert kept_seconds > 7000 or "docket_factory" in given
    worker.channel.send(Drain())
    assert ended(nursery) == 0


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        ("worker_tasks:other_name", "made a docket of another name"),
        ("worker_tasks:leaving", "'worker_tasks:leaving' ended the program: SystemExit"),
        ("worker_tasks:TASKLESS", "has no attribute 'TASKLESS'"),
    ],
)
def test_a_factory_that_makes_no_docket_is_a_fault_of_the_code(
    nursery: NurseryProcess, pool: Settings, factory: str, reason: str
) -> None:
    nursery.load(structs.replace(with_worker(pool, docket_factory=factory), preload=False))
    worker = nursery.spawn()

    fault = worker.next(Fault)

    assert reason in fault.reason
    assert fault.cannot_load
    assert ended(nursery) == 1


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


async def plant(pool: Settings, trace: Path) -> None:
    docket = Docket(pool.worker.docket, pool.worker.url)
    message = Strike("double", "number", Operator.EQUAL, 1).as_message()
    async with docket, docket.redis() as redis:
        message[b"value"] = b"p" + pickle.dumps(Bomb(trace))
        await redis.xadd(docket.keys.strikes, message)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given", [{}, {"docket_factory": "worker_tasks:make"}], ids=["options", "factory"]
)
def test_an_adopter_opens_the_docket_of_the_settings_and_unpickles_nothing(
    nursery: NurseryProcess, pool: Settings, tmp_path: Path, given: dict[str, Any]
) -> None:
    trace = tmp_path / "trace"
    asyncio.run(plant(pool, trace))
    nursery.load(with_worker(pool, **given))
    adopter = nursery.spawn(slot=0)
    adopter.next(Ready)

    adopter.channel.send(Adopt("somebody.1", "nobody"))

    assert adopter.next(Adopted).moved == 0
    adopter.channel.send(Drain())
    assert ended(nursery) == 0
    assert not trace.exists()


def test_settings_of_before_have_the_defaults() -> None:
    worker = WorkerSettings("d", "u", "u")
    assert (worker.serializer, worker.docket_factory, worker.execution_ttl_seconds) == (None,) * 3
