"""Processes that tasks start: they work as anywhere, and none outlives its worker."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.parameters import in_full
from tests.support.supervised import Program
from tests.support.user_code import (
    RESTLESS,
    copied,
    descendants,
    pool_in,
    producer,
    still_alive,
)

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

METHODS = ["fork", "spawn", "forkserver"]
SHARED = ("--concurrency", "1", *RESTLESS)
PRELOAD = pytest.mark.parametrize("pool", ["--preload", *in_full("--no-preload")], indirect=True)
BOTH_WAYS = pytest.mark.parametrize("pool", ["--preload", "--no-preload"], indirect=True)


@pytest.fixture(scope="module")
def pool(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Program]:
    """One pool for what harms nobody else; each test leaves it as whole as it was."""
    folder = tmp_path_factory.mktemp("user")
    copied(folder, "process_jobs")
    with pool_in(folder, *SHARED, request.param, tasks="process_jobs:tasks") as program:
        program.wait_for("pool ready")
        yield program
        assert program.end() == 0


@BOTH_WAYS
async def test_subprocesses_get_default_signals_and_end_when_told(pool: Program) -> None:
    async with producer(pool) as tasks:
        signals = await tasks.call("signals_of_a_subprocess")
        assert signals["SigBlk:"] == 0
        # Python ignores SIGPIPE and SIGXFSZ by itself and gives both back to subprocesses.
        assert signals["SigIgn:"] == 0
        assert await tasks.call("run_with_everything") == ["to and fro", 0]
        assert await tasks.call("terminate_a_popen") == -signal.SIGTERM
        assert await tasks.call("terminate_by_asyncio") == -signal.SIGTERM
        assert await tasks.call("talk_to_a_shell") == ["hello\n", 3]
        assert await tasks.call("kill_as_the_kernel_does") == -signal.SIGKILL


@PRELOAD
@pytest.mark.parametrize("method", METHODS)
async def test_multiprocessing_works_and_its_children_end_when_told(
    pool: Program, method: str
) -> None:
    before = pool.workers()
    async with producer(pool) as tasks:
        assert await tasks.call("a_process", method) == [49, 0]
        assert await tasks.call("terminate_processes", method, 3) == [-signal.SIGTERM] * 3
        assert await tasks.call("a_pool", method) == [1, 4, 9]
        assert await tasks.call("an_executor", method) == [0, 1, 4, 9]
        assert await tasks.call("a_killed_executor", method) == "broken"
    assert pool.workers() == before


@PRELOAD
async def test_a_fork_ends_when_told_however_early_that_is(pool: Program) -> None:
    async with producer(pool) as tasks:
        assert await tasks.call("fork_by_hand") == 7
        assert await tasks.call("fork_and_terminate", 100) == {-signal.SIGTERM}


@PRELOAD
async def test_a_fork_that_comes_back_to_the_loop_is_ended_and_its_worker_goes_on(
    pool: Program,
) -> None:
    before, seen = pool.workers(), len(pool.lines)
    async with producer(pool) as tasks:
        for _ in range(5):
            assert await tasks.call("fork_and_come_back") in before.values()
    pool.wait_for("came back to the event loop and was ended", after=seen)
    assert pool.workers() == before


@BOTH_WAYS
async def test_a_spawned_process_imports_nothing_of_the_runtime(pool: Program) -> None:
    async with producer(pool) as tasks:
        assert await tasks.call("modules_of_a_spawned_process") == []


@PRELOAD
@pytest.mark.parametrize(
    "kind", ["sleep", "stubborn", "pool", "forkserver", *in_full("asyncio", "fork", "spawn")]
)
async def test_what_a_task_started_does_not_outlive_its_killed_worker(
    pool: Program, kind: str
) -> None:
    async with producer(pool) as tasks:
        pid = await tasks.call("leave_behind", kind)
        left = descendants(pid)
        assert left
        os.kill(pid, signal.SIGKILL)
        assert still_alive(left) == []
        pool.until(lambda: len(pool.workers()) == 2, "never replaced")
    assert pool.status()["totals"]["poisoned"] == 0


@PRELOAD
async def test_a_process_with_a_session_of_its_own_is_left_alone(pool: Program) -> None:
    async with producer(pool) as tasks:
        pid = await tasks.call("leave_behind", "detached")
        # The worker may keep helpers of multiprocessing from an earlier test; those end with it.
        (detached,) = (each for each in descendants(pid) if os.getsid(each.pid) == each.pid)
        os.kill(pid, signal.SIGKILL)
        pool.until(lambda: pid not in pool.workers().values(), "still there")
        pool.until(lambda: len(pool.workers()) == 2, "never replaced")
        assert detached.is_running()
        detached.kill()
        pool.until(lambda: not detached.is_running(), "never reaped")
