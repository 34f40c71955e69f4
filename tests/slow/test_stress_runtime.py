"""Each scenario of the runtime's figures, as small as it gets, on the real program."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from stress.runtime.cli import runtime

pytestmark = pytest.mark.timeout(180)


def _figures(*words: str) -> dict[str, dict[str, Any]]:
    """What it found, by name; how fast a loaded machine is does not matter here."""
    arguments = [*words, "--seed", "1", "--json", "--no-limits"]
    result = CliRunner().invoke(runtime, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (scenario,) = json.loads(result.output)["scenarios"]
    assert scenario["scenario"] == words[0]
    return {figure["name"]: figure for figure in scenario["figures"]}


def test_kills_are_seen_and_their_tasks_start_again_before_they_are_asked_for() -> None:
    found = _figures("kills", "--rounds", "2", "--processes", "2")
    seen = found["kill to death seen"]["samples"]
    assert len(seen) == 2
    assert min(seen) > 0
    assert min(found["kill to first redelivered start"]["samples"]) > 0
    ready = found["kill to replacement ready"]["samples"]
    assert all(late > early for early, late in zip(seen, ready, strict=True))
    assert found["tasks interrupted by a kill"]["least"] > 0
    assert found["tasks lost"]["most"] == 0


@pytest.mark.full  # what a reload does is in test_rolling.py, too
def test_a_reload_keeps_every_task_and_the_pool_full() -> None:
    found = _figures("reload", "--rounds", "1", "--processes", "2")
    assert found["answers of /status in a reload"]["least"] > 10
    assert found["lowest number of ready workers"]["least"] >= 2
    assert found["tasks cut short"]["most"] == 0
    assert found["tasks lost"]["most"] == 0
    ends = found["signal to the last old worker's end"]["least"]
    assert 0 < found["signal to the end of the reload"]["least"] <= ends


@pytest.mark.full
def test_an_idle_pool_is_weighed() -> None:
    found = _figures("idle64", "--rounds", "1", "--processes", "2", "--seconds", "0.5")
    assert len(found["PSS of a worker"]["samples"]) == 2
    assert found["PSS of the supervisor"]["least"] > 1
    assert found["CPU of the supervisor"]["least"] >= 0


@pytest.mark.full
def test_preloading_shares_what_was_imported() -> None:
    found = _figures("preload", "--rounds", "1", "--processes", "2")
    preloaded, not_preloaded = (
        found[f"PSS of a worker, {how}"]["median"] for how in ("preloaded", "not preloaded")
    )
    assert preloaded < not_preloaded


@pytest.mark.full  # test_leaks.py has a pool of its own for it
def test_restarts_leave_nothing_open() -> None:
    found = _figures("restarts", "--rounds", "3", "--processes", "2")
    for what in ("descriptors", "threads", "processes below it"):
        assert found[f"{what} after"]["samples"] == found[f"{what} before"]["samples"]
