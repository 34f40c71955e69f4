"""The registry, without a process and without a clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.backoff import Backoff
from supervisor.errors import InvalidTransition
from supervisor.pool.state.replacement import Reason, Replacement
from supervisor.pool.state.worker_registry import TRANSITIONS, WorkerRegistry, WorkerState


def make(target: int) -> WorkerRegistry:
    registry = WorkerRegistry("host", lambda: Backoff(30.0, 60.0))
    registry.set_target(target)
    return registry


def test_every_wanted_slot_is_to_be_filled_in_order() -> None:
    registry = make(3)
    assert [slot.number for slot in registry.to_fill(0.0)] == [1, 2, 3]


def test_of_empty_slots_the_one_that_has_waited_for_longest_is_filled_first() -> None:
    registry = make(3)
    for slot, due_at in zip(registry.slots(), (7.0, 5.0, 6.0), strict=True):
        slot.due_at = due_at
    assert [slot.number for slot in registry.to_fill(6.5)] == [2, 3]
    assert [slot.number for slot in registry.to_fill(7.0)] == [2, 3, 1]


def test_a_slot_with_a_live_worker_is_not_to_be_filled() -> None:
    registry = make(2)
    worker = registry.add(registry.slots()[0], 1, 0.0)
    assert worker.name == "host#1"
    assert [slot.number for slot in registry.to_fill(0.0)] == [2]


def test_a_dead_workers_slot_is_filled_when_its_pause_is_over() -> None:
    registry = make(1)
    (slot,) = registry.slots()
    worker = registry.add(slot, 1, 0.0)
    worker.enter(WorkerState.DEAD)
    slot.due_at = 5.0
    assert registry.to_fill(4.9) == []
    assert registry.next_due() == 5.0
    assert registry.to_fill(5.0) == [slot]


def test_states_lead_only_to_those_of_the_table() -> None:
    for state, following in TRANSITIONS.items():
        for other in WorkerState:
            worker = make(1).add(make(1).slots()[0], 1, 0.0)
            worker.state = state
            assert worker.may_enter(other) is (other in following)
            if other in following:
                worker.enter(other)
                assert worker.state is other
            else:
                with pytest.raises(InvalidTransition, match=f"from {state} to {other}"):
                    worker.enter(other)


def test_operators_see_four_states() -> None:
    assert {state.shown for state in WorkerState} == {"starting", "ready", "draining", "dead"}


def test_a_successor_becomes_current_and_the_former_stays_until_forgotten() -> None:
    registry = make(1)
    (slot,) = registry.slots()
    former = registry.add(slot, 1, 0.0)
    successor = registry.add(slot, 2, 1.0)
    assert list(registry.alive()) == [former, successor]
    assert registry.slot_of(former) is None
    assert registry.slot_of(successor) is slot


def test_a_slot_that_is_given_up_goes_at_once_and_its_workers_when_they_have_died() -> None:
    registry = make(2)
    slot = registry.slots()[1]
    worker, successor = registry.add(slot, 1, 0.0), registry.add_successor(slot, 1, 1.0)
    assert registry.set_target(1) == [worker, successor]
    assert [slot.number for slot in registry.slots()] == [1]
    assert list(registry.alive()) == [worker, successor]
    assert registry.slot_of(worker) is None
    assert registry.slot_awaiting(successor) is None
    worker.enter(WorkerState.DEAD)
    registry.forget(worker)
    assert list(registry.alive()) == [successor]


def test_a_successor_stands_beside_the_current_one_until_it_takes_its_place() -> None:
    registry = make(1)
    (slot,) = registry.slots()
    former = registry.add(slot, 1, 0.0)
    successor = registry.add_successor(slot, 2, 1.0)
    assert registry.slot_of(former) is slot
    assert registry.slot_awaiting(successor) is slot
    assert registry.promote(slot) is former
    assert registry.slot_of(successor) is slot
    assert registry.slot_of(former) is registry.slot_awaiting(successor) is None


def test_a_slot_whose_worker_died_is_not_empty_while_a_successor_comes() -> None:
    registry = make(1)
    (slot,) = registry.slots()
    worker = registry.add(slot, 1, 0.0)
    registry.add_successor(slot, 2, 1.0)
    worker.enter(WorkerState.DEAD)
    assert not slot.is_empty
    assert registry.to_fill(2.0) == []


def test_a_pause_of_a_replacement_is_due_like_that_of_an_empty_slot() -> None:
    registry = make(2)
    first, second = registry.slots()
    for slot in (first, second):
        registry.add(slot, 1, 0.0)
    assert registry.next_due() is None
    second.replacement = Replacement(Reason.RELOAD, Backoff(1.0, 1.0), due_at=7.0)
    assert registry.next_due() == 7.0
    registry.add_successor(second, 1, 0.0)
    assert registry.next_due() is None


def test_a_request_is_found_by_slot_and_generation_until_it_was_forked() -> None:
    registry = make(1)
    worker = registry.add(registry.slots()[0], 7, 0.0)
    assert registry.awaiting_fork(1, 7) is worker
    assert registry.awaiting_fork(1, 6) is None
    worker.spawned_at, worker.pid = 1.0, 42
    assert registry.awaiting_fork(1, 7) is None


def test_an_adopter_fills_no_slot_and_claims_nothing() -> None:
    registry = make(1)
    adopter = registry.add_adopter(1, 0.0)
    adopter.enter(WorkerState.READY)
    assert not adopter.consumes
    assert adopter.can_adopt
    assert registry.slot_of(adopter) is None
    assert registry.consuming() == []


@given(st.lists(st.integers(0, 6), max_size=30))
def test_whatever_the_targets_are_the_wanted_slots_are_those_up_to_the_last(
    targets: list[int],
) -> None:
    registry = make(1)
    for target in targets:
        registry.set_target(target)
        assert [slot.number for slot in registry.slots()] == list(range(1, target + 1))
