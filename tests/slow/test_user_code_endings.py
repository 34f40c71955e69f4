"""Tasks that are rough with their process: the task fails, or the process is lost; nothing else."""

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from docket.errors import PoisonTask
from tests.support.parameters import in_full, sets_in_full
from tests.support.supervised import Program
from tests.support.user_code import RESTLESS, copied, pool_in, producer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

#: What a task raises, and what its caller is told.
RAISED = {
    "SystemExit": "SystemExit: 3",
    "KeyboardInterrupt": "KeyboardInterrupt",
    "GeneratorExit": "GeneratorExit",
    "Odd": "Odd: odd",
    "MemoryError": "MemoryError",
    "RecursionError": "maximum recursion depth exceeded",
    "DeepRecursionError": "maximum recursion depth exceeded",
    "CancelledError": "was cancelled",
    "StopIteration": "raised StopIteration",
    "in a thread": "SystemExit: 4",
}

#: Tasks that end their process, and what is said of its death.
ENDINGS = [
    ("leave", 0, "exit status 0"),
    ("die_of", signal.SIGSEGV, "killed by SIGSEGV"),
    ("close_everything", None, "killed by SIG(ABRT|KILL)"),
    ("stop_the_loop", None, "exit status 1"),
    ("raise_in_an_own_task", None, "exit status 1"),
    *sets_in_full(
        ("leave", 1, "exit status 1"),
        ("die_of", signal.SIGTERM, "killed by SIGTERM"),
        ("close_the_very_last", None, "killed by SIG(ABRT|KILL)"),
        ("raise_in_a_callback", None, "exit status 1"),
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("user").resolve()


PRELOAD = pytest.mark.parametrize("pool", ["--preload", *in_full("--no-preload")], indirect=True)
BOTH_WAYS = pytest.mark.parametrize("pool", ["--preload", "--no-preload"], indirect=True)


@pytest.fixture(scope="module")
def pool(request: pytest.FixtureRequest, folder: Path) -> Iterator[Program]:
    copied(folder, "rough_jobs")
    shared = ("--concurrency", "3", *RESTLESS, request.param)
    with pool_in(folder, *shared, tasks="rough_jobs:tasks") as program:
        program.wait_for("pool ready")
        yield program
        assert program.end() == 0


@BOTH_WAYS
async def test_whatever_a_task_raises_fails_that_task_only(pool: Program) -> None:
    before = pool.workers()
    async with producer(pool) as tasks:
        for error, told in RAISED.items():
            innocent = await tasks.add("nap", 0.1)
            assert told in repr(await (await tasks.add("raise_it", error)).failure())
            assert await innocent.result() in before.values()
    assert pool.workers() == before


@PRELOAD
@pytest.mark.parametrize(("task", "argument", "reason"), ENDINGS)
async def test_a_task_that_ends_its_process_is_poison_and_its_neighbours_are_not(
    pool: Program, task: str, argument: int | None, reason: str
) -> None:
    before, seen = pool.status()["totals"], len(pool.lines)
    async with producer(pool) as tasks:
        innocent = [await tasks.add("nap", 0.2) for _ in range(4)]
        culprit = await tasks.add(task, *([] if argument is None else [argument]))
        assert isinstance(await culprit.failure(), PoisonTask)
        assert len([await each.result() for each in innocent]) == 4
    pool.wait_for(rf"died: {reason}; replaced", after=seen)
    pool.until(lambda: len(pool.workers()) == 2, "never replaced")
    pool.until(lambda: pool.status()["totals"]["poisoned"] > before["poisoned"], "not counted")
    after = pool.status()["totals"]
    assert after["poisoned"] - before["poisoned"] == 1
    assert after["crashes"] - before["crashes"] == 3


@BOTH_WAYS
async def test_threads_of_all_kinds_work(pool: Program) -> None:
    async with producer(pool) as tasks:
        assert await tasks.call("threads_of_all_kinds") is True


@PRELOAD
async def test_a_task_may_replace_handlers_and_cannot_lead_a_session(pool: Program) -> None:
    before = pool.workers()
    async with producer(pool) as tasks:
        assert await tasks.call("replace_handlers") in before.values()
        refused = await (await tasks.add("lead_a_session")).failure()
        assert isinstance(refused, PermissionError)
    assert pool.workers() == before


@PRELOAD
async def test_a_task_that_runs_out_of_descriptors_fails_and_its_worker_goes_on(
    pool: Program,
) -> None:
    before = pool.workers()
    async with producer(pool) as tasks:
        innocent = [await tasks.add("nap", 0.1) for _ in range(4)]
        refused = await (await tasks.add("exhaust_descriptors")).failure()
        assert isinstance(refused, OSError)
        assert refused.errno == errno.EMFILE
        assert {await each.result() for each in innocent} <= set(before.values())
    assert pool.workers() == before


@PRELOAD
async def test_a_task_that_closes_the_standard_streams_closes_nobodys_log(pool: Program) -> None:
    before, seen = pool.workers(), len(pool.lines)
    async with producer(pool) as tasks:
        closed = await tasks.call("close_standard_streams")
        assert closed in before.values()
        pool.wait_for("WARNING .*it is still heard", after=seen)
        os.kill(closed, signal.SIGKILL)
        pool.wait_for(rf"pid {closed}\) died", after=seen)
    pool.until(lambda: len(pool.workers()) == 2, "never replaced")


@PRELOAD
async def test_where_a_task_moves_its_process_its_successor_is_not(
    pool: Program, folder: Path
) -> None:
    async with producer(pool) as tasks:
        moved = await tasks.call("move_away")
        os.kill(moved, signal.SIGKILL)
        pool.until(lambda: moved not in pool.workers().values(), "still there")
        pool.until(lambda: len(pool.workers()) == 2, "never replaced")
        places = [await tasks.add("where") for _ in range(6)]
        for cwd, umask, _ in [await each.result() for each in places]:
            assert umask != 0o077
            assert cwd == str(folder)
