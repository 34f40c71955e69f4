"""The calculations behind the figures of size: costs, their ratio, the longest calls, the sizes."""

from typing import Any

import pytest
from click.testing import CliRunner

from docket.store import scripts
from stress.soak.cli import SCENARIOS, soak
from stress.soak.cost import Cost, compared, middle
from stress.soak.queue import memory_figures
from stress.soak.scale import LEAST_JUDGED_SCALE, Scale
from stress.soak.script_clocks import with_clock
from stress.soak.slowlog import LongestCalls, name_of

# -- sizes


@pytest.mark.parametrize(
    ("scale", "full", "small", "rounds"),
    [(1.0, 1_000_000, 1_000, 10), (0.1, 100_000, 1_000, 10), (0.01, 10_000, 100, 2)],
)
def test_a_scale_makes_the_full_size_smaller_and_then_the_small_one_too(
    scale: float, full: int, small: int, rounds: int
) -> None:
    sizes = Scale(scale)
    assert (sizes.of(1_000_000), sizes.small, sizes.rounds) == (full, small, rounds)


def test_no_size_is_under_its_least() -> None:
    assert Scale(0.0001).of(1_000, 20) == 20
    assert Scale(0.0001).small == 50


def test_ratios_are_judged_only_from_the_scale_on_at_which_the_small_size_is_whole() -> None:
    least, less = Scale(LEAST_JUDGED_SCALE), Scale(LEAST_JUDGED_SCALE * 0.99)
    assert (least.small, less.small) == (1_000, 990)
    assert str(least.ratio_limit) == "at most 1.50"
    assert less.ratio_limit is None


# -- costs


def test_a_task_costs_what_both_sides_spent_on_it() -> None:
    assert Cost(1_000, ours=0.01, server=0.02, wall=9.0).microseconds == pytest.approx(30)


def test_what_is_spent_without_a_task_is_no_cost_of_tasks() -> None:
    cost = Cost(1_000, 0.010, 0.020, 1.0).less(Cost(1, 0.004, 0.001, 0.5))
    assert (cost.tasks, cost.wall) == (1_000, 0.5)
    assert cost.microseconds == pytest.approx(25)


@pytest.mark.parametrize(("full", "reached"), [(14.9, True), (15.1, False)])
def test_a_cost_is_judged_by_how_many_times_it_is_the_median_of_the_small_ones(
    full: float, reached: bool
) -> None:
    small = [Cost(1_000, ours=us * 1_000 / 1e6) for us in (9, 10, 100)]
    figures = compared("run", small, Cost(1_000_000, server=full), Scale(1.0).ratio_limit)
    assert [figure.name for figure in figures] == [
        "run, 1,000",
        "run, 1,000,000",
        "  of which this process, 1,000,000",
        "run, ratio",
    ]
    assert figures[-1].samples == [pytest.approx(full / 10)]
    assert [figure.reached for figure in figures] == [None, None, None, reached]


def test_sizes_that_are_no_numbers_of_tasks_have_names() -> None:
    sizes = ("under 1 strike", "under 20 strikes")
    found = compared("add", [Cost(100, 1.0)], Cost(100, 2.0), None, sizes)
    assert [(figure.name, figure.reached) for figure in found] == [
        ("add, under 1 strike", None),
        ("add, under 20 strikes", None),
        ("  of which this process, under 20 strikes", None),
        ("add, ratio", None),
    ]


def test_the_middle_one_is_by_the_cost_of_a_task() -> None:
    costs = [Cost(1, 3.0), Cost(100, 100.0), Cost(1, 2.0)]
    assert middle(costs) is costs[2]


def test_memory_is_judged_beside_the_payload() -> None:
    assert [figure.reached for figure in memory_figures(760.0, 60)] == [None, True]
    assert [figure.reached for figure in memory_figures(761.0, 60)] == [None, False]


# -- calls


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (f"EVALSHA {scripts.ADOPT.digest} 8 k".encode(), "script adopt"),
        (b"EVALSHA 0000 0", "script of somebody else"),
        (b"EVAL local now 1 k", "script, sent for the first time"),
        (b"xrange {d}:stream - +", "XRANGE"),
        (b"EVALSHA", "EVALSHA"),
    ],
)
def test_a_call_is_known_by_its_script_or_its_command(command: bytes, name: str) -> None:
    assert name_of(command) == name


def _entry(command: bytes, microseconds: int) -> dict[str, Any]:
    return {"command": command, "duration": microseconds}


def test_the_longest_call_is_named_and_judged() -> None:
    calls = LongestCalls()
    calls.seconds = 10.0
    calls.take([_entry(b"XRANGE s - +", 3_000), _entry(b"SLOWLOG GET", 90_000)])
    calls.take([_entry(b"XRANGE s - +", 21_000), _entry(b"HGETALL k", 2_000)])
    longest, starved = calls.figures()
    assert (longest.name, longest.samples) == ("longest call by the clock: XRANGE", [21.0])
    assert longest.reached is False
    assert starved.samples == [0.0]


def test_the_clock_judges_nothing_where_the_server_had_to_wait_for_a_cpu() -> None:
    calls = LongestCalls()
    calls.seconds, calls.starved = 10.0, 60.0
    calls.take([_entry(b"HSET k", 16_000)])
    assert calls.figures()[0].reached is None


def test_where_no_call_was_long_enough_to_be_written_down_that_is_said() -> None:
    calls = LongestCalls()
    calls.seconds = 1.0
    (longest, _) = calls.figures()
    assert (longest.name, longest.samples) == ("longest call by the clock: none was longer", [1.0])
    assert longest.reached is True


def test_a_script_with_a_clock_is_another_script_of_the_same_name() -> None:
    timed = with_clock(scripts.WAKE_IDLE)
    assert timed.name == "wake_idle"
    assert timed.digest != scripts.WAKE_IDLE.digest
    assert scripts.WAKE_IDLE.source in timed.source


# -- the command


def test_a_scale_that_makes_no_size_is_refused() -> None:
    assert CliRunner().invoke(soak, ["queue", "--scale", "0"]).exit_code == 2
    assert CliRunner().invoke(soak, ["queue", "--scale", "1.5"]).exit_code == 2
    assert list(SCENARIOS) == [
        *("queue", "scheduled", "waiting", "pending", "payloads", "strikes", "web", "history"),
    ]
