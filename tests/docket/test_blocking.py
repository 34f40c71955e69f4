"""A docket in threads without an event loop."""

import asyncio
import contextvars
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from docket import Disposition, Docket, ExecutionCancelled, Worker
from docket.blocking import SyncDocket
from docket.errors import ConnectionClosed, DocketError, WrongEventLoop
from docket.execution import ExecutionState

PATIENCE = timedelta(seconds=15)
LATER = datetime.now(UTC) + timedelta(hours=1)


async def double(number: int) -> int:
    return 2 * number


async def fail() -> None:
    raise LookupError("no such order")


def work_off(docket_name: str, server: str) -> None:
    """Runs a worker of another docket object until nothing is left."""

    async def work() -> None:
        async with Docket(docket_name, server) as docket, Worker(docket) as worker:
            docket.register(double)
            docket.register(fail)
            await worker.run_until_finished()

    asyncio.run(work())


@pytest.fixture
def orders(server: str, docket_name: str) -> Iterator[SyncDocket]:
    with Docket(docket_name, server).sync() as orders:
        yield orders


def test_a_script_adds_a_task_and_waits_for_its_result(
    orders: SyncDocket, server: str, docket_name: str
) -> None:
    execution = orders.add(double, key="k")(21)
    assert (execution.key, execution.state) == ("k", ExecutionState.QUEUED)
    work_off(docket_name, server)
    assert execution.get_result(timeout=PATIENCE) == 42
    execution.sync()
    assert execution.state is ExecutionState.COMPLETED


def test_many_tasks_are_added_in_one_call(
    orders: SyncDocket, server: str, docket_name: str
) -> None:
    first, again, other = orders.add_many(
        [
            orders.call(double, key="k")(1),
            orders.call(double, key="k")(2),
            orders.call(double)(3),
        ]
    )
    assert (first.disposition, again.disposition) == (
        Disposition.SCHEDULED,
        Disposition.ALREADY_SCHEDULED,
    )
    work_off(docket_name, server)
    assert [each.get_result(timeout=PATIENCE) for each in (first, other)] == [2, 6]


def test_an_execution_shows_attempt_error_and_progress_as_they_were_last_read(
    orders: SyncDocket, server: str, docket_name: str
) -> None:
    waiting = orders.add(double, when=LATER)(1)
    failed = orders.add(fail)()
    orders.wait_for(lambda: waiting.execution.progress.increment(2))
    waiting.sync()
    assert (waiting.attempt, waiting.error) == (1, None)
    assert (waiting.progress.current, waiting.progress.total) == (2, 100)

    orders.cancel(waiting.key)
    work_off(docket_name, server)
    failed.sync()
    assert failed.error == "LookupError: no such order"


def test_errors_of_the_task_and_of_the_call_come_out_of_it(
    orders: SyncDocket, server: str, docket_name: str
) -> None:
    execution = orders.add(fail)()
    work_off(docket_name, server)
    with pytest.raises(LookupError, match="no such order"):
        execution.get_result(timeout=PATIENCE)
    with pytest.raises(KeyError, match="Task 'unheard of' is not registered"):
        orders.add("unheard of")
    with pytest.raises(TimeoutError):
        orders.add(double, LATER)(1).get_result(timeout=timedelta(0))


def test_replace_cancel_and_look_up_are_there(orders: SyncDocket) -> None:
    orders.add(double, LATER, "k")(1)
    orders.replace(double, LATER + timedelta(hours=1), "k")(2)
    found = orders.get_execution("k")
    assert found is not None
    assert found.execution.args == (2,)
    orders.cancel("k")
    with pytest.raises(ExecutionCancelled):
        found.get_result(timeout=PATIENCE)
    assert orders.get_execution("nothing") is None


def test_any_number_of_threads_share_it(orders: SyncDocket) -> None:
    with ThreadPoolExecutor(8) as threads:
        added = list(threads.map(lambda n: orders.add(double, key=f"k{n}")(n), range(200)))
    assert [each.key for each in added] == [f"k{n}" for n in range(200)]
    assert [each.execution.args for each in added] == [(n,) for n in range(200)]


def test_a_docket_that_is_open_is_used_on_its_own_loop(server: str, docket_name: str) -> None:
    async def main() -> int:
        async with Docket(docket_name, server) as docket, Worker(docket) as worker:
            running = asyncio.create_task(worker.run_until_finished())
            execution = await asyncio.to_thread(docket.sync().add(double), 4)
            await running
            return await asyncio.to_thread(execution.get_result)

    assert asyncio.run(main()) == 8


def test_in_the_thread_of_that_loop_it_is_refused_and_not_hung(
    server: str, docket_name: str
) -> None:
    async def main() -> None:
        async with Docket(docket_name, server) as docket:
            with pytest.raises(WrongEventLoop, match="would wait for itself"):
                docket.sync().add(double)(4)

    asyncio.run(main())


def test_a_loop_that_has_ended_with_its_docket_open_is_told(server: str, docket_name: str) -> None:
    docket = Docket(docket_name, server)

    async def leave_it_open() -> None:
        await docket.__aenter__()

    asyncio.run(leave_it_open())
    with pytest.raises(ConnectionClosed, match="has ended"):
        docket.sync().cancel("k")


def test_closed_it_opens_again_and_leaves_no_thread(server: str, docket_name: str) -> None:
    before = threading.active_count()
    orders = Docket(docket_name, server).sync()
    for number in range(2):
        orders.add(double)(number)
        assert threading.active_count() == before + 1
        orders.close()
        orders.close()
        assert threading.active_count() == before


def test_a_docket_that_cannot_be_opened_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    file = tmp_path / "no folder"
    file.touch()
    with pytest.raises(DocketError):
        Docket(url=f"embedded://{file}").sync().cancel("k")
    assert threading.active_count() == before


def test_a_fork_of_an_open_one_is_told_what_to_do(orders: SyncDocket) -> None:
    orders.add(double)(1)
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            orders.cancel("k")
        except DocketError as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        assert "make the first call after the fork" in told.read()
    os.waitpid(pid, 0)


def test_the_context_variables_of_the_caller_are_those_of_the_call(orders: SyncDocket) -> None:
    seen = contextvars.ContextVar[str]("seen")
    seen.set("request 7")

    async def look() -> str:
        return seen.get()

    assert orders.wait_for(look) == "request 7"
