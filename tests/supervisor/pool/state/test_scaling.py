"""The size of a pool, look by look."""

from itertools import pairwise

import pytest
from msgspec.structs import replace

from supervisor.pool.state.scaling import (
    GROW_SECONDS,
    LOOK_GAP_SECONDS,
    REGRET_FACTOR,
    Direction,
    Load,
    ScalingPolicy,
    SizeChange,
)
from supervisor.process_range import ProcessRange

WAIT = 1.0
IDLE = 60.0


def policy(least: int = 2, most: int = 16) -> ScalingPolicy:
    return ScalingPolicy(ProcessRange(least, most), WAIT, IDLE)


def load(
    processes: int = 4,
    busy: float = 4.0,
    waits: float = 2.0,
    *,
    read_at: float = 100.0,
    held: str | None = None,
) -> Load:
    return Load(processes, processes, busy, waits, read_at, held)


def idle_until(
    scaling: ScalingPolicy, begin: float, end: float, busy: float = 0.0
) -> list[SizeChange]:
    """Look every second; the changes."""
    found: list[SizeChange] = []
    now = begin
    processes = 4
    while now <= end:
        change = scaling.decide(load(processes, busy, 0.0, read_at=now), now)
        if change is not None:
            found.append(change)
            processes = change.processes
        now += 1.0
    return found


@pytest.mark.parametrize(
    ("waits", "processes"), [(1.01, 5), (1.5, 6), (1.75, 7), (2.0, 8), (50.0, 8)]
)
def test_a_full_pool_grows_in_proportion_to_the_wait_and_at_most_doubles(
    waits: float, processes: int
) -> None:
    change = policy().decide(load(waits=waits), 100.0)
    assert change is not None
    assert (change.before, change.processes, change.direction) == (4, processes, Direction.UP)


def test_the_reason_tells_the_wait_and_the_use() -> None:
    change = policy().decide(load(busy=3.9, waits=3.25), 100.0)
    assert change is not None
    assert change.reason == "the oldest ready task has waited 3.2 s, the workers are 98% busy"


@pytest.mark.parametrize(
    "given",
    [
        load(waits=WAIT),
        load(waits=0.0),
        load(busy=3.5),
        load(processes=16, busy=16.0),
        Load(4, 0, 0.0, 9.0, 100.0),
        load(held="workers start"),
    ],
    ids=["short wait", "no wait", "seems not full", "at the most", "no ready worker", "held"],
)
def test_a_pool_stays_as_it_is_without_both_a_wait_and_full_workers(given: Load) -> None:
    assert policy().decide(given, 100.0) is None


def test_steps_up_have_a_pause_and_need_a_newer_look_at_the_server() -> None:
    scaling = policy(1, 100)
    assert scaling.decide(load(4, 4.0, read_at=100.0), 100.0) is not None
    soon = 100.0 + GROW_SECONDS - 0.1
    assert scaling.decide(load(8, 8.0, read_at=soon), soon) is None
    later = 100.0 + GROW_SECONDS
    assert scaling.decide(load(8, 8.0, read_at=100.0), later) is None
    change = scaling.decide(load(8, 8.0, read_at=later), later)
    assert change is not None
    assert change.processes == 16


def test_an_idle_pool_loses_one_process_a_while_and_never_goes_below_the_fewest() -> None:
    changes = idle_until(policy(2, 16), 1000.0, 1400.0)
    assert [(each.before, each.processes) for each in changes] == [(4, 3), (3, 2)]
    assert changes[0].at == 1000.0 + IDLE
    assert changes[1].at - changes[0].at >= IDLE
    assert changes[0].reason == "the workers were at most 0% busy for 1m00s"


@pytest.mark.parametrize(("busy", "shrinks"), [(2.0, True), (2.2, False)])
def test_a_pool_shrinks_only_if_what_runs_leaves_room_in_the_smaller_one(
    busy: float, shrinks: bool
) -> None:
    assert bool(idle_until(policy(3, 16), 1000.0, 1200.0, busy)) is shrinks


def test_any_busy_look_starts_the_idle_time_anew() -> None:
    scaling = policy()
    assert idle_until(scaling, 1000.0, 1059.0) == []
    assert scaling.decide(load(busy=3.0, waits=0.0, read_at=1059.5), 1059.5) is None
    assert idle_until(scaling, 1060.0, 1119.0) == []
    assert len(idle_until(scaling, 1120.0, 1120.0)) == 1


def test_a_task_that_waits_keeps_a_pool_from_shrinking() -> None:
    scaling = policy(4, 4)
    for second in range(200):
        now = 1000.0 + second
        assert scaling.decide(load(busy=0.0, waits=5.0, read_at=now), now) is None
    assert idle_until(scaling, 1200.0, 1259.0) == []


def test_workers_that_do_not_seem_full_are_believed_after_a_second_reading() -> None:
    scaling = policy()
    assert scaling.decide(load(busy=0.0, read_at=100.0), 100.0) is None
    assert scaling.decide(load(busy=0.0, read_at=100.0), 101.0) is None
    assert scaling.decide(load(busy=0.0, waits=0.0, read_at=102.0), 102.0) is None
    assert scaling.decide(load(busy=0.0, read_at=104.0), 104.0) is None
    change = scaling.decide(load(busy=0.0, read_at=106.0), 106.0)
    assert change is not None
    assert change.processes == 8


def step_up(scaling: ScalingPolicy, processes: int, at: float) -> None:
    assert scaling.decide(load(processes, float(processes), 9.0, read_at=at), at) is not None


def test_a_size_that_was_too_small_is_tried_again_after_twice_the_time_each_time() -> None:
    scaling = policy(3, 4)
    now = 1000.0
    waits_for: list[float] = []
    for _ in range(8):
        (down,) = idle_until(scaling, now, now + 33 * IDLE)
        waits_for.append(down.at - now)
        now += 33 * IDLE
        scaling.last_change = replace(down, at=now)
        now += 1.0
        step_up(scaling, 3, now)
        now += 1.0
    assert waits_for == [IDLE * doubled for doubled in (1, 2, 4, 8, 16, 32, 32, 32)]


def test_a_size_above_one_that_was_too_small_takes_no_longer() -> None:
    scaling = policy(2, 4)
    (first, second) = idle_until(scaling, 1000.0, 1000.0 + 3 * IDLE)
    now = 1000.0 + 4 * IDLE
    step_up(scaling, 2, now)
    (third,) = idle_until(scaling, now, now + 2 * IDLE)
    assert (first.processes, second.processes, third.processes) == (3, 2, 3)
    assert third.at - now == IDLE


def test_a_size_that_proved_large_enough_is_forgotten() -> None:
    scaling = policy(1, 4)
    (down,) = idle_until(scaling, 1000.0, 1000.0 + IDLE)
    step_up(scaling, 3, down.at + 1.0)
    now = down.at + 2.0
    changes = idle_until(scaling, now, now + 10 * IDLE)
    assert [round((b.at - a.at) / IDLE) for a, b in pairwise(changes)] == [2, 1]
    assert changes[0].at - now == 2 * IDLE


def test_a_step_up_long_after_a_step_down_takes_nothing_back() -> None:
    scaling = policy(3, 4)
    (down,) = idle_until(scaling, 1000.0, 1000.0 + IDLE)
    now = down.at + REGRET_FACTOR * IDLE
    step_up(scaling, 3, now)
    (again,) = idle_until(scaling, now, now + 2 * IDLE)
    assert again.at - now == IDLE


def test_time_in_which_nobody_looked_is_not_idle_time() -> None:
    scaling = policy()
    assert idle_until(scaling, 1000.0, 1050.0) == []
    after = 1050.0 + LOOK_GAP_SECONDS + 3600.0
    assert idle_until(scaling, after, after + IDLE - 1.0) == []


def test_a_held_size_starts_the_idle_time_anew_and_says_why() -> None:
    scaling = policy()
    assert idle_until(scaling, 1000.0, 1050.0) == []
    assert scaling.decide(load(busy=0.0, waits=0.0, held="a reload is under way"), 1051.0) is None
    assert scaling.held_because == "a reload is under way"
    assert idle_until(scaling, 1052.0, 1100.0) == []
    assert scaling.held_because is None


def test_the_last_change_is_kept_to_be_told() -> None:
    scaling = policy()
    change = scaling.decide(load(), 100.0)
    assert change is not None
    assert scaling.decide(load(8, 1.0, 0.0, read_at=101.0), 101.0) is None
    assert scaling.last_change == change
