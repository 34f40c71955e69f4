"""The teardown of what tasks share, where it hangs or fails: an orderly end for all that."""

from pathlib import Path

import pytest

from docket import Docket
from tests.support.parameters import rest_in_full, sets_in_full
from tests.support.supervised import ROOT, Program, supervised

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

JOBS = """
import asyncio, contextlib, sys, time
from docket import Shared

@contextlib.asynccontextmanager
async def pool():
    yield "pool"
    {ending}

async def use(p=Shared(pool)):
    return 1

tasks = [use]
"""
DEAF = """while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue"""
HANGS = {
    "waits": "await asyncio.sleep(3600)",
    "ignores its cancellation": DEAF,
    "blocks": "time.sleep(3600)",
}
FAILS = {
    "raises": "raise ConnectionError('the database went first')",
    "exits": "sys.exit(3)",
    "is cancelled": "raise asyncio.CancelledError",
}


async def use() -> None: ...


def pool_of(folder: Path, ending: str, *arguments: str) -> Program:
    (folder / "jobs.py").write_text(JOBS.format(ending=ending))
    environment = {"PYTHONPATH": f"{ROOT}:{folder}"}
    options = ("--tasks", "jobs:tasks", *arguments)
    return supervised(*options, processes=1, environment=environment)


async def run(program: Program, count: int) -> None:
    async with Docket("d", program.url) as docket:
        for each in [await docket.add(use)() for _ in range(count)]:
            await each.get_result()


@pytest.mark.parametrize(
    ("way", "by"),
    [
        ("waits", "--max-tasks"),
        ("ignores its cancellation", "SIGTERM"),
        ("blocks", "--max-tasks"),
        *sets_in_full(
            ("waits", "SIGTERM"), ("ignores its cancellation", "--max-tasks"), ("blocks", "SIGTERM")
        ),
    ],
)
async def test_a_worker_whose_teardown_hangs_is_ended_and_its_stack_is_logged(
    tmp_path: Path, way: str, by: str
) -> None:
    options = ("--max-tasks", "3", "--retire-timeout", "none") if by == "--max-tasks" else ()
    with pool_of(tmp_path, HANGS[way], "--drain-timeout", "1s", *options) as program:
        program.wait_for("pool ready")
        await run(program, 3)
        if by == "--max-tasks":
            former = program.workers_ready()[0]
            program.wait_for(r"is recycled")
            program.until(
                lambda: former not in {each.pid for each in program.family()}, "it is kept"
            )
        assert program.end() == 0
        assert program.family() == []
    assert "jobs.py" in program.log  # its stack
    assert "WARNING" in program.log
    assert "crash" not in program.log


@pytest.mark.parametrize("way", rest_in_full(FAILS, ["raises"]))
async def test_a_worker_whose_teardown_fails_ends_in_order_and_hands_in_its_totals(
    tmp_path: Path, way: str
) -> None:
    with pool_of(tmp_path, FAILS[way], "--max-tasks", "3") as program:
        program.wait_for("pool ready")
        for _ in range(3):
            former = program.workers_ready()
            await run(program, 5)
            program.until(
                lambda former=former: not set(former) & set(program.workers_ready()), "kept"
            )
            program.until(lambda: len(program.workers_ready()) == 1, "no successor")
        totals = program.status()["totals"]
        assert (totals["succeeded"], totals["crashes"], totals["restarts"]) == (15, 0, 0)
        assert program.end() == 0
    assert way != "raises" or "the database went first" in program.log
