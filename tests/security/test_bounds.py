"""What a task or a writer controls has a bound where it is stored and where it is shown."""

import asyncio
import tracemalloc
from collections.abc import AsyncGenerator, Callable
from typing import Any, cast
from uuid import uuid4

import pytest

from docket import Docket, Worker
from docket.errors import TaskError
from docket.execution.progress import MAX_MESSAGE as MAX_PROGRESS
from docket.instrumentation.counters import OTHERS
from docket.instrumentation.servers import metrics_text
from docket.serialization.pickle_codec import MAX_ERROR_BYTES, MAX_MESSAGE, MAX_TRACEBACK
from docket.store.keys import MAX_KEY_LENGTH, MAX_NAME_LENGTH
from docket_display.printable import MAX_SHOWN, in_view
from tests.support.dockets import Gate, finish, knowing
from tests.support.exposition import series
from tests.support.programs import run_docket
from tests.support.store import until

pytestmark = pytest.mark.anyio

HUGE = 20_000_000


async def quick() -> None: ...


async def fail() -> None:
    raise ValueError("x" * HUGE)


@pytest.fixture(params=["pickle", "msgpack"])
async def docket(server: str, request: pytest.FixtureRequest) -> AsyncGenerator[Docket]:
    name = f"test-{uuid4().hex}"
    opened = Docket(name=name, url=server, serializer=request.param)
    async with knowing(opened, [quick, fail]) as docket:
        yield docket


async def test_a_key_has_a_longest_length_wherever_it_is_given(docket: Docket) -> None:
    longest = "k" * MAX_KEY_LENGTH
    execution = await docket.add(quick, key=longest)()
    assert (await docket.get_execution(longest)) is not None
    for use in (
        docket.add(quick, key=longest + "k"),
        docket.replace(quick, execution.when, longest + "k"),
    ):
        with pytest.raises(ValueError, match="65537 characters, over the limit of 65536"):
            await use()
    await finish(docket)
    await execution.get_result()


async def test_an_exception_of_any_size_is_stored_as_its_type_its_beginning_and_its_traceback(
    docket: Docket,
) -> None:
    execution = await docket.add(fail, key="k")()
    await finish(docket)

    record = await docket.transitions.fetch("k")
    assert sum(map(len, record.values())) < MAX_ERROR_BYTES
    assert len(record[b"error"]) <= MAX_MESSAGE
    with pytest.raises(TaskError) as caught:
        await execution.get_result()
    assert caught.value.type_name == "ValueError"
    assert len(caught.value.message) <= MAX_MESSAGE
    assert len(caught.value.traceback_text) <= MAX_TRACEBACK + 100


async def test_texts_that_a_holder_of_a_key_reports_are_cut(docket: Docket) -> None:
    execution = await docket.add(quick, key="k")()
    await execution.progress.set_message("m" * HUGE)
    assert len((await docket.transitions.fetch("k"))[b"progress_message"]) == MAX_PROGRESS
    await execution.mark_as_failed("e" * HUGE)
    assert len((await docket.transitions.fetch("k"))[b"error"]) == MAX_MESSAGE


async def test_what_a_writer_puts_into_a_record_is_shown_cut(docket: Docket) -> None:
    client = docket.connections.client()
    await docket.add(quick, key="k")()
    await client.hset(docket.runs_key("k"), mapping={"function": "f" * HUGE, "error": "e" * HUGE})
    on = ("--docket", docket.name, "--url", docket.url)

    for command in (("snapshot", *on), ("snapshot", *on, "--stats")):
        _, output, errors = await run_docket(*command)
        assert len(output + errors) < 100_000

    assert len(in_view("x" * HUGE)) == MAX_SHOWN + len("[...]")


async def test_a_worker_says_little_of_a_malformed_record_however_large_it_is(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    await docket.add(quick, key="k")()
    client = docket.connections.client()
    huge = b"\xff" * HUGE
    await client.hset(docket.runs_key("k"), mapping={"function": huge, "attempt": huge})
    async with Worker(docket) as worker:
        await worker.run_until_finished()
    assert b"malformed" in (await docket.transitions.fetch("k"))[b"error"]
    assert sum(len(record.getMessage()) for record in caplog.records) < 10_000


@pytest.mark.parametrize("make", [Docket, lambda name: Worker(Docket(), name)])
def test_a_name_has_a_bound_and_is_text(make: Callable[[str], object]) -> None:
    make("n" * MAX_NAME_LENGTH)
    make("größe \x1b[2J \n")  # As it always could be; it is shown escaped.
    for name, error in (
        ("n" * (MAX_NAME_LENGTH + 1), "1025 characters, over the limit of 1024"),
        ("\ud800", "no valid text"),
    ):
        with pytest.raises(ValueError, match=error):
            make(name)
    with pytest.raises(TypeError, match="must be a str, not int"):
        make(cast("Any", 17))


async def test_the_labels_of_metrics_are_printable(server: str, docket_name: str) -> None:
    name = f"{docket_name}\x1b]0;owned\x07\u202e\nforged"
    async with Docket(name, server) as docket:
        await docket.add(quick, key="k")()
        async with Worker(docket, "w\x1b[2J") as worker:
            await worker.run_until_finished()
            text = metrics_text().decode()
    assert all(line.isprintable() for line in text.splitlines())
    assert f'docket_name="{docket_name}\\\\x1b]0;owned' in text


async def test_names_that_are_made_up_take_little_of_a_worker_and_of_its_metrics(
    docket: Docket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL", "docket")  # its records are kept, with their arguments
    monkeypatch.setattr("docket.instrumentation.counters.MAX_NAMES", 3)
    client = docket.connections.client()
    gate = Gate()

    async def hold(*args: object, **kwargs: object) -> None:
        await gate.pass_through()

    async def add(name: str) -> None:
        await docket.add(quick, key=name[:20])()
        await client.hset(docket.runs_key(name[:20]), "function", name)

    for number in range(8):
        await add(f"made up {number}")
    async with Worker(docket, "w", concurrency=8, fallback_task=hold) as worker:
        running = asyncio.create_task(worker.run_until_finished())
        await until(lambda: len(worker.running_tasks()) == 8)
        scraped = series(metrics_text().decode())
        gate.opened.set()
        await running
        tracemalloc.start()
        try:
            for number in range(20):
                await add(f"huge {number} " + "n" * 1_000_000)
            await worker.run_until_finished()
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        # Other tests of this process have names of their own in it.
        ours = [line for line in metrics_text().splitlines() if docket.name.encode() in line]

    by_task = {
        dict(labels)["docket_task"]: number
        for (name, labels), number in scraped.items()
        if name == "docket_tasks_running" and ("docket_name", docket.name) in labels
    }
    assert (len(by_task), sum(by_task.values()), by_task[OTHERS]) == (4, 8, 5)
    assert kept < 10_000_000
    assert 0 < sum(map(len, ours)) < 1_000_000
