"""The queue of adoptions: each is with at most one adopter, and none is lost."""

from hypothesis import given
from hypothesis import strategies as st

from ipc.messages import Heartbeat, WorkerCounters
from supervisor.pool.state.adoption_queue import (
    BLAME_EVERYONE,
    AdoptionQueue,
    blame_key,
)
from supervisor.pool.state.worker_registry import WorkerProcess


def worker(number: int, *consumers: str) -> WorkerProcess:
    made = WorkerProcess(number, number, f"host#{number}", 1, 0.0)
    made.consumers.extend(consumers)
    return made


def test_an_adoption_goes_to_the_worker_with_the_fewest() -> None:
    queue = AdoptionQueue()
    queue.add(worker(9, "a", "b", "c"), BLAME_EVERYONE, 1.0)
    given_to = [adopter.number for _, adopter in queue.assign([worker(1), worker(2)])]
    assert given_to == [1, 2, 1]


def test_an_adoption_that_was_given_is_not_given_again() -> None:
    queue = AdoptionQueue()
    queue.add(worker(9, "a"), BLAME_EVERYONE, 1.0)
    assert len(queue.assign([worker(1)])) == 1
    assert queue.assign([worker(1), worker(2)]) == []


def test_an_adoption_waits_for_the_first_worker_that_can() -> None:
    queue = AdoptionQueue()
    queue.add(worker(9, "a"), BLAME_EVERYONE, 1.0)
    assert queue.assign([]) == []
    assert [adoption.consumer for adoption, _ in queue.assign([worker(1)])] == ["a"]


def test_when_the_adopter_dies_another_is_asked() -> None:
    queue = AdoptionQueue()
    queue.add(worker(9, "a"), BLAME_EVERYONE, 1.0)
    queue.assign([worker(1)])
    queue.adopter_gone(1)
    ((adoption, adopter),) = queue.assign([worker(2)])
    assert (adoption.consumer, adopter.number) == ("a", 2)


def test_among_equals_an_adoption_goes_to_the_one_that_runs_the_fewest_tasks() -> None:
    queue = AdoptionQueue()
    queue.add(worker(9, "a"), BLAME_EVERYONE, 1.0)
    busy, idle = worker(1), worker(2)
    busy.heartbeat = Heartbeat(1, 0.0, [], 3, WorkerCounters(), 0)
    ((_, adopter),) = queue.assign([busy, idle])
    assert adopter is idle


def test_what_others_have_not_done_may_be_done_by_a_newcomer_too() -> None:
    queue = AdoptionQueue()
    queue.add(worker(8, "a"), BLAME_EVERYONE, 1.0)
    queue.assign([worker(1)])
    queue.add(worker(9, "b"), BLAME_EVERYONE, 1.0)
    assert [adoption.consumer for adoption in queue.unfinished_by_others(2)] == ["a"]
    assert queue.unfinished_by_others(1) == []
    queue.done("a")
    assert queue.unfinished_by_others(2) == []


def test_an_adoption_is_done_once() -> None:
    queue = AdoptionQueue()
    queue.add(worker(9, "a"), BLAME_EVERYONE, 1.0)
    done = queue.done("a")
    assert done is not None
    assert done.died_at == 1.0
    assert queue.done("a") is None
    assert len(queue) == 0


def test_a_worker_that_never_claimed_leaves_nothing() -> None:
    queue = AdoptionQueue()
    queue.add(worker(9), BLAME_EVERYONE, 1.0)
    assert len(queue) == 0


def test_blame_names_the_task() -> None:
    assert blame_key("order-1") == "key:order-1"


@given(st.data())
def test_whichever_worker_dies_every_adoption_is_unassigned_held_by_the_living_or_done(
    data: st.DataObject,
) -> None:
    queue, living, added, done = AdoptionQueue(), {1, 2, 3}, 0, 0
    for _ in range(data.draw(st.integers(0, 40))):
        match data.draw(st.sampled_from(["add", "assign", "die", "done"])):
            case "add":
                queue.add(worker(100 + added, f"c{added}"), BLAME_EVERYONE, 0.0)
                added += 1
            case "assign":
                queue.assign([worker(number) for number in sorted(living)])
            case "die" if living:
                number = data.draw(st.sampled_from(sorted(living)))
                living.discard(number)
                queue.adopter_gone(number)
            case "done" if queue.consumers():
                queue.done(data.draw(st.sampled_from(queue.consumers())))
                done += 1
        held = sum(queue.held_by(number) for number in living)
        unassigned = len(queue.assign([worker(99)]))
        queue.adopter_gone(99)
        assert unassigned + held == len(queue) == added - done
