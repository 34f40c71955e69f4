"""A sample of the crash points of every kind of task: `tox -m full` walks all (tests/slow)."""

from pathlib import Path

import psutil
import pytest

from tests.support.crash_points import CUTS, KILLS, Theatre, describe
from tests.support.crash_scenarios import SCENARIOS
from tests.support.crash_workers import children

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240), pytest.mark.long]

#: One point in so many; a prime, so that no way to fail is left out for good.
SAMPLE = 13
KILLED_SAMPLE = 17


async def test_a_call_or_a_reply_that_is_lost_changes_neither_the_end_nor_the_number_of_runs(
    server: str, tmp_path: Path
) -> None:
    theatre = Theatre(server, tmp_path)
    walks = [
        await theatre.walk(scenario, CUTS, every=SAMPLE, offset=n)
        for n, scenario in enumerate(SCENARIOS)
    ]
    assert sum(walked.points for walked in walks) >= len(SCENARIOS), list(map(describe, walks))


async def test_a_process_that_is_killed_is_replaced_and_what_had_ended_stays_ended(
    server: str, tmp_path: Path
) -> None:
    async with children() as parent:
        theatre = Theatre(server, tmp_path, parent)
        walks = [
            await theatre.walk(scenario, KILLS, every=KILLED_SAMPLE, offset=n)
            for n, scenario in enumerate(SCENARIOS)
        ]
    assert sum(walked.points for walked in walks) >= len(SCENARIOS), list(map(describe, walks))


async def test_no_worker_outlives_the_tests_that_it_was_started_by(
    server: str, docket_name: str, tmp_path: Path
) -> None:
    async with children() as parent:
        pid = await parent.bear("plain", server, docket_name, tmp_path / "ledger")
        assert psutil.pid_exists(pid)
    # All that its parent sees of killed tests is the end of its stdin.
    assert not psutil.pid_exists(pid)
