"""Every crash point of every kind of task: calls and replies lost, late, and processes killed.

Run by `tox -m full`; every run has a sample of them (tests/properties/test_crash_points.py).

How many points there were is printed: `pytest -s` shows it.
"""

import sys
from pathlib import Path

import pytest

from tests.support.crash_points import CUTS, KILLS, Theatre, describe
from tests.support.crash_scenarios import SCENARIOS, Scenario
from tests.support.crash_workers import children

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(1800), pytest.mark.full, pytest.mark.long]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
async def test_whatever_call_or_reply_is_lost_each_task_ends_as_promised_and_runs_once(
    server: str, tmp_path: Path, scenario: Scenario
) -> None:
    walked = await Theatre(server, tmp_path).walk(scenario, CUTS)
    assert walked.points > 20, describe(walked)
    sys.stdout.write(f"{describe(walked)}\n")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
async def test_wherever_the_process_is_killed_each_task_ends_as_promised_by_another(
    server: str, tmp_path: Path, scenario: Scenario
) -> None:
    async with children() as parent:
        walked = await Theatre(server, tmp_path, parent).walk(scenario, KILLS)
    assert walked.points > 10, describe(walked)
    sys.stdout.write(f"{describe(walked)}\n")
