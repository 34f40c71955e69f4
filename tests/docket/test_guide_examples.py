# ruff: noqa: T201, ASYNC240 - the examples print, and look for a file
"""The examples of the users' guide to dependencies, as they stand there, run.

What they import or call of their own (an HTTP client, a database, a lock) are the stand-ins of
tests/support/guide.py, which note what was asked of them.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from logging import LoggerAdapter
from pathlib import Path

import pytest

from docket import (
    CurrentDocket,
    CurrentExecution,
    CurrentWorker,
    Depends,
    Docket,
    Execution,
    ExecutionState,
    ExponentialRetry,
    Retry,
    TaskKey,
    Timeout,
    Worker,
    testing,
)
from tests.support.dockets import finish, found, result_of, soon
from tests.support.guide import (
    AuthService,
    UserService,
    acquire_file_lock,
    database,
    http_client,
    redis,
    release_file_lock,
    world,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _fresh_world() -> Iterator[None]:
    world.reset()
    yield
    world.reset()


async def run_once(docket: Docket, execution: Execution) -> None:
    """Run one attempt of an execution, and nothing that it scheduled."""
    events = execution.subscribe()
    await anext(events)  # What is in its record now; from here on it misses nothing.
    async with Worker(docket) as worker:
        running = asyncio.create_task(worker.run_forever())
        async for event in events:
            if event["type"] == "state" and event["state"] is ExecutionState.RUNNING:
                break
        await events.aclose()
        worker.drain()
        await soon(running)


async def result_of_run(docket: Docket, execution: Execution) -> None:
    """Run the execution and whatever else is there; it must succeed."""
    await finish(docket)
    assert await result_of(execution) is None


def now() -> datetime:
    return datetime.now(UTC)


# Built-in context dependencies ------------------------------------------------------------


async def poll_for_file(file_path: str, docket: Docket = CurrentDocket()) -> None:
    path = Path(file_path)
    if path.exists():
        print(f"File {file_path} found!")
        return

    # Schedule another check in 30 seconds
    await docket.add(poll_for_file, when=now() + timedelta(seconds=30))(file_path)


async def test_a_task_schedules_another_check_on_its_own_docket(
    docket: Docket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, there = tmp_path / "missing", tmp_path / "there"
    there.touch()

    first = await docket.add(poll_for_file)(str(missing))
    await run_once(docket, first)
    await docket.add(poll_for_file)(str(there))
    await testing.assert_task_count(docket, poll_for_file, count=2)
    (later,) = [e for e in (await docket.snapshot()).future if e.args == (str(missing),)]
    assert timedelta(seconds=20) < later.when - now() <= timedelta(seconds=31)

    await docket.cancel(later.key)
    await finish(docket)
    assert capsys.readouterr().out == f"File {there} found!\n"


async def process_data_chunk(
    dataset_id: int,
    chunk: int,
    total_chunks: int,
    key: str = TaskKey(),
    docket: Docket = CurrentDocket(),
) -> None:
    print(f"Processing chunk {chunk}/{total_chunks} for dataset {dataset_id}")

    # Process this chunk...
    await world.does("chunk", key, chunk)

    if chunk < total_chunks:
        # Schedule next chunk with a related key
        next_key = f"dataset-{dataset_id}-chunk-{chunk + 1}"
        await docket.add(process_data_chunk, key=next_key)(dataset_id, chunk + 1, total_chunks)


async def test_a_chain_of_chunks_gives_each_a_key_of_its_own(docket: Docket) -> None:
    await docket.add(process_data_chunk, key="dataset-7-chunk-1")(7, 1, 3)
    await finish(docket)

    assert world.done == [("chunk", f"dataset-7-chunk-{n}", n) for n in (1, 2, 3)]


async def diagnostic_task(
    worker: Worker = CurrentWorker(), execution: Execution = CurrentExecution()
) -> None:
    print(f"Running on worker: {worker.name}")
    print(f"Task key: {execution.key}")
    print(f"Scheduled at: {execution.when}")
    print(f"Worker concurrency: {worker.concurrency}")


async def test_a_task_sees_its_worker_and_its_execution(
    docket: Docket, capsys: pytest.CaptureFixture[str]
) -> None:
    execution = await docket.add(diagnostic_task, key="diagnosis")()
    await finish(docket, name="worker-1", concurrency=3)

    assert capsys.readouterr().out.splitlines() == [
        "Running on worker: worker-1",
        "Task key: diagnosis",
        f"Scheduled at: {execution.when}",
        "Worker concurrency: 3",
    ]


# Advanced retry patterns ------------------------------------------------------------------


async def call_external_api(
    url: str,
    retry: ExponentialRetry = ExponentialRetry(
        attempts=5, minimum_delay=timedelta(seconds=1), maximum_delay=timedelta(minutes=5)
    ),
) -> None:
    # Retries with delays: 1s, 2s, 4s, 8s, 16s (but capped at 5 minutes)
    try:
        response = await http_client.get(url)
        response.raise_for_status()
        print(f"API call succeeded on attempt {retry.attempt}")
    except Exception as e:
        print(f"Attempt {retry.attempt} failed: {e}")
        raise


async def test_an_overloaded_service_is_asked_again_after_a_second(
    docket: Docket, capsys: pytest.CaptureFixture[str]
) -> None:
    world.failures = 1
    execution = await docket.add(call_external_api)("https://example.org")
    await run_once(docket, execution)
    again = await found(docket, execution.key)
    assert (again.state, again.attempt) == (ExecutionState.SCHEDULED, 2)
    assert timedelta(seconds=1) <= again.when - execution.when < timedelta(seconds=20)

    await finish(docket)
    assert capsys.readouterr().out.splitlines() == [
        "Attempt 1 failed: overloaded",
        "API call succeeded on attempt 2",
    ]


async def critical_data_sync(
    source_url: str, retry: Retry = Retry(attempts=None, delay=timedelta(minutes=5))
) -> None:
    # This will retry forever with 5-minute delays until it succeeds
    await world.may_fail("sync", source_url)
    print(f"Critical sync completed after {retry.attempt} attempts")


async def test_a_critical_task_is_tried_again_in_five_minutes(docket: Docket) -> None:
    world.failures = 1
    execution = await docket.add(critical_data_sync)("https://example.org")
    await run_once(docket, execution)

    again = await found(docket, execution.key)
    assert (again.state, again.attempt) == (ExecutionState.SCHEDULED, 2)
    assert timedelta(minutes=4) < again.when - now() <= timedelta(minutes=5, seconds=1)


# Task timeouts ----------------------------------------------------------------------------


async def data_processing_task(
    large_dataset: dict, timeout: Timeout = Timeout(timedelta(minutes=10))
) -> None:
    # This task will be cancelled if it runs longer than 10 minutes
    await world.does("phase one", timeout.remaining())

    # Extend timeout if we need more time for phase two
    timeout.extend(timedelta(minutes=5))
    await world.does("phase two", timeout.remaining())


async def adaptive_timeout_task(timeout: Timeout = Timeout(timedelta(minutes=2))) -> None:
    await world.does("quick check", timeout.remaining())

    # Extend by the base timeout (another 2 minutes)
    timeout.extend()
    await world.does("longer operation", timeout.remaining())


async def test_a_timeout_is_extended_by_what_is_asked_or_by_its_base(docket: Docket) -> None:
    await result_of_run(docket, await docket.add(data_processing_task)({"rows": 1}))
    await result_of_run(docket, await docket.add(adaptive_timeout_task)())

    minutes = [round(left / timedelta(minutes=1)) for _, left in world.done]
    assert minutes == [10, 15, 2, 4]


# Custom dependencies ----------------------------------------------------------------------


@asynccontextmanager
async def get_database_connection():
    """Simple dependency that returns a database connection."""
    conn = await database.connect()
    try:
        yield conn
    finally:
        await conn.close()


@asynccontextmanager
async def get_redis_client():
    """Another dependency for Redis operations."""
    client = redis.Redis(host="localhost", port=6379)
    try:
        yield client
    finally:
        client.close()


async def process_user_data(
    user_id: int, db=Depends(get_database_connection), cache=Depends(get_redis_client)
) -> None:
    # Both dependencies are automatically provided and cleaned up
    user = await db.fetch_user(user_id)
    await cache.set(f"user:{user_id}", user.to_json())


async def test_resources_are_given_to_the_task_and_cleaned_up_after_it(docket: Docket) -> None:
    await result_of_run(docket, await docket.add(process_user_data)(4))

    assert world.done == [("set", "user:4", '{"id": 4}')]
    assert (world.opened, world.closed) == (["db", "redis"], ["redis", "db"])


async def get_auth_service(db=Depends(get_database_connection)):
    """A service that depends on the database connection."""
    return AuthService(db)


async def get_user_service(db=Depends(get_database_connection), auth=Depends(get_auth_service)):
    """A service that depends on both database and auth service."""
    return UserService(db, auth)


async def update_user_profile(
    user_id: int, profile_data: dict, user_service=Depends(get_user_service)
) -> None:
    # All dependencies are resolved automatically:
    # db -> auth_service -> user_service -> this task
    await user_service.update_profile(user_id, profile_data)


async def test_nested_dependencies_share_one_instance_of_what_both_need(docket: Docket) -> None:
    await result_of_run(docket, await docket.add(update_user_profile)(4, {"name": "Ada"}))

    assert world.done == [("update", 4, {"name": "Ada"})]
    assert (world.opened, world.closed) == (["db"], ["db"])


@asynccontextmanager
async def get_file_lock(filename: str):
    """A dependency that provides file locking."""
    lock = await acquire_file_lock(filename)
    try:
        yield lock
    finally:
        await release_file_lock(filename)


async def process_shared_file(
    filename: str, file_lock=Depends(lambda: get_file_lock("shared.txt"))
) -> None:
    # File is locked before task starts, unlocked after task completes
    await world.does("file", filename, file_lock, list(world.closed))


async def test_a_lock_is_held_around_the_task(docket: Docket) -> None:
    await result_of_run(docket, await docket.add(process_shared_file)("shared.txt"))

    assert world.done == [("file", "shared.txt", "lock of shared.txt", [])]
    assert world.closed == ["shared.txt"]


async def get_task_logger(
    execution: Execution = CurrentExecution(), worker: Worker = CurrentWorker()
) -> LoggerAdapter:
    """Create a logger with task and worker context."""
    logger = logging.getLogger(f"worker.{worker.name}")
    return LoggerAdapter(logger, {"task_key": execution.key, "worker_name": worker.name})


async def important_task(data: dict, logger=Depends(get_task_logger)) -> None:
    logger.info("Starting important task")
    await world.does("important", data)
    logger.info("Important task completed")


async def test_a_dependency_makes_a_logger_of_the_context(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "worker.worker-1"):
        await docket.add(important_task, key="important")({})
        await finish(docket, name="worker-1")

    records = [record for record in caplog.records if record.name == "worker.worker-1"]
    assert [r.message for r in records] == ["Starting important task", "Important task completed"]
    assert {(r.task_key, r.worker_name) for r in records} == {("important", "worker-1")}
