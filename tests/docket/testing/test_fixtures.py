"""The clean docket and the fixtures: each test has its own, whatever plugin runs its loop."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from docket import Worker
from docket.testing import assert_no_tasks, clean_docket

pytestmark = pytest.mark.usefixtures("unmeasured")

ROOT = Path(__file__).parent.parent.parent.parent

USERS_CONFTEST = """
import pytest

pytest_plugins = ["docket.pytest_plugin"]

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""

USERS_TESTS = """
import pytest
from docket import testing

async def greet(name: str) -> str:
    return f"Hello, {name}!"

@pytest.mark.anyio
@pytest.mark.parametrize("turn", [1, 2])
async def test_each_has_a_clean_docket(turn, docket):
    await testing.assert_no_tasks(docket)
    await docket.add(greet, key="greet")("Ada")
    await testing.assert_task_count(docket, count=1)

@pytest.mark.anyio
async def test_the_worker_is_that_of_the_docket(docket, worker):
    execution = await docket.add(greet, key="greet")("Ada")
    await worker.run_until_finished()
    assert await execution.get_result() == "Hello, Ada!"
"""


async def nothing() -> None: ...


@pytest.mark.anyio
async def test_a_second_clean_docket_does_not_see_the_tasks_of_the_first() -> None:
    async with clean_docket() as first, clean_docket() as second:
        await first.add(nothing, key="first")()
        await assert_no_tasks(second)

        assert first.url == second.url == "memory://"
        assert first.name != second.name


@pytest.mark.anyio
async def test_a_clean_docket_is_closed_at_the_end_and_runs_what_is_added() -> None:
    async with clean_docket() as docket, Worker(docket) as worker:
        execution = await docket.add(nothing)()
        await worker.run_until_finished()
        assert await execution.get_result() is None
    assert not docket.is_open


@pytest.mark.anyio
async def test_a_clean_docket_has_the_serializer_that_is_asked_for() -> None:
    async with clean_docket(serializer="msgpack") as docket:
        with pytest.raises(TypeError):
            await docket.add(takes_anything)(object())


async def takes_anything(value: object) -> None: ...


def test_a_users_tests_have_the_fixtures_from_one_line_in_their_conftest(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(USERS_CONFTEST, "utf-8")
    (tmp_path / "test_users.py").write_text(USERS_TESTS, "utf-8")

    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:xdist", "."],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert "3 passed" in run.stdout


def test_the_library_and_its_assertions_do_not_need_pytest() -> None:
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "import docket.testing, docket.cli.program\n"
        "assert callable(docket.testing.clean_docket)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
