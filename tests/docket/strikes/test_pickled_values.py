"""Strikes whose values only pickle can store: who writes them, and who reads them."""

import pickle
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from docket import Disposition, Docket, StrikeList, Worker
from docket.errors import UnfitValue
from docket.strike_rules import Operator, Restore, Strike, StrikeInstruction
from tests.support import cli_tasks
from tests.support.dockets import finish, result_of
from tests.support.programs import run_docket
from tests.support.store import until

pytestmark = pytest.mark.anyio


class Color(Enum):
    RED = "red"


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """What a bomb makes."""
    return tmp_path / "trace"


def exploded(trace: Path) -> bool:
    return trace.exists()


async def paint(color: Color) -> str:
    return color.value


async def append(docket: Docket, instruction: StrikeInstruction, pickled: object = None) -> None:
    """Write to the stream as another process does, with this for the value."""
    message = instruction.as_message()
    if pickled is not None:
        message[b"value"] = b"p" + pickle.dumps(pickled)
    async with docket.redis() as redis:
        await redis.xadd(docket.keys.strikes, message)  # type: ignore[arg-type]


async def plant(docket: Docket, trace: Path) -> None:
    """Put a bomb wherever a writer can put one: a strike, and the arguments of a task."""
    await append(docket, Strike(None, "name", Operator.EQUAL, 1), Bomb(trace))
    await docket.add(cli_tasks.greet, key="k")("Ann")
    async with docket.redis() as redis:
        call = pickle.dumps(((Bomb(trace),), {}))
        await redis.hset(docket.runs_key("k"), "call", call)


@pytest.mark.parametrize(
    "command",
    [
        ("snapshot",),
        ("snapshot", "--stats", "--tasks", "tests.support.cli_tasks:tasks"),
        ("workers", "ls"),
        ("workers", "for-task", "greet"),
        ("strike", "greet", "name", "==", "x"),
        ("restore", "greet", "name", "==", "x"),
        ("tasks", "trace"),
        ("clear",),
    ],
    ids=" ".join,
)
async def test_no_command_unpickles_anything(
    docket: Docket, trace: Path, command: tuple[str, ...]
) -> None:
    docket.register(cli_tasks.greet)
    await plant(docket, trace)

    code, _, errors = await run_docket(*command, "--docket", docket.name, "--url", docket.url)

    assert (code, errors) == (0, "")
    assert not exploded(trace)


async def test_watching_a_task_unpickles_nothing(docket: Docket, trace: Path) -> None:
    docket.register(cli_tasks.greet)
    await plant(docket, trace)
    await docket.cancel("k")

    code, output, _ = await run_docket("watch", "k", "--docket", docket.name, "--url", docket.url)

    assert code == 0
    assert "CANCELLED" in output
    assert not exploded(trace)


@pytest.mark.parametrize("serializer", ["pickle", "msgpack"])
async def test_a_docket_or_a_list_that_is_opened_unpickles_no_strike(
    docket: Docket, trace: Path, serializer: Any
) -> None:
    await append(docket, Strike(None, "name", Operator.EQUAL, 1), Bomb(trace))
    await docket.strike(None, "name", "==", "x")

    async with (
        StrikeList(docket.url, docket.name, serializer=serializer) as strikes,
        Docket(docket.name, docket.url, serializer=serializer) as other,
    ):
        await other.wait_for_strikes_loaded()
        assert strikes.in_effect == other.strike_list.in_effect == 1

    assert not exploded(trace)


async def test_a_worker_under_msgpack_unpickles_no_strike(docket: Docket, trace: Path) -> None:
    await append(docket, Strike(None, "name", Operator.EQUAL, 1), Bomb(trace))

    async with (
        Docket(docket.name, docket.url, serializer="msgpack") as other,
        Worker(other) as worker,
    ):
        await worker.run_until_finished()

    assert not exploded(trace)


async def test_a_worker_under_pickle_reads_what_is_there_before_it_claims(docket: Docket) -> None:
    docket.register(paint)
    await append(docket, Strike("paint", "color", Operator.EQUAL, Color.RED))
    async with Docket(docket.name, docket.url) as other:
        other.register(paint)
        await other.wait_for_strikes_loaded()
        assert other.strike_list.is_empty
        stricken = await docket.add(paint)(Color.RED)
        assert stricken.disposition is Disposition.SCHEDULED, "only workers read that strike"

        async with Worker(other) as worker:
            await worker.run_until_finished()

        assert worker.counters.stricken == 1
        assert other.strike_list.in_effect == 1
        # From now on as it comes.
        await append(docket, Restore("paint", "color", Operator.EQUAL, Color.RED))
        await until(lambda: other.strike_list.is_empty)


async def test_what_a_process_has_struck_itself_it_knows_without_reading_a_pickle(
    docket: Docket, server: str
) -> None:
    await docket.strike(paint, "color", "==", Color.RED)
    refused = await docket.add(paint)(Color.RED)
    assert refused.disposition is Disposition.STRUCK

    async with Docket(docket.name, server) as other:
        await other.restore(paint, "color", "==", Color.RED)

    await until(lambda: docket.strike_list.is_empty)
    assert (await docket.add(paint)(Color.RED)).disposition is Disposition.SCHEDULED


async def test_a_list_of_msgpack_refuses_what_only_pickle_could_store(docket: Docket) -> None:
    async with StrikeList(docket.url, docket.name, serializer="msgpack") as strikes:
        with pytest.raises(UnfitValue, match="A strike cannot hold"):
            await strikes.strike("paint", "color", "==", Color.RED)
        await strikes.strike("paint", "color", "between", (1, 5))
        assert strikes.in_effect == 1


def test_a_list_has_a_serializer_that_exists() -> None:
    with pytest.raises(ValueError, match="serializer must be one of pickle, msgpack, not 'json'"):
        StrikeList(serializer="json")  # type: ignore[arg-type]


async def test_the_tasks_of_a_docket_run_as_before(docket: Docket) -> None:
    execution = await docket.add(paint)(Color.RED)
    await finish(docket)
    assert await result_of(execution) == "red"
