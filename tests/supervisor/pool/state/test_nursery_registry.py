from supervisor.pool.state.nursery_registry import Generations, Phase
from supervisor.pool.state.restart_window import Backoff


def make() -> Generations:
    return Generations(Backoff(30.0, 60.0, jitter=lambda most: most), preload=True)


def test_a_nursery_is_needed_until_one_is_loading() -> None:
    generations = make()
    assert generations.is_needed(0.0)
    nursery = generations.add(10, 0.0, preload=True)
    assert not generations.is_needed(0.0)
    assert nursery.phase is Phase.LOADING
    assert generations.current is None


def test_the_boot_is_timed_from_the_first_code_that_was_loaded() -> None:
    generations = make()
    generations.loaded(generations.add(10, 0.0, preload=True), 1.0)
    generations.loaded(generations.add(11, 2.0, preload=True), 3.0)
    assert generations.first_loaded_at == 1.0


def test_the_newest_loaded_generation_is_current() -> None:
    generations = make()
    first = generations.add(10, 0.0, preload=True)
    generations.loaded(first, 1.0)
    second = generations.add(11, 2.0, preload=True)
    assert generations.current is first
    generations.loaded(second, 3.0)
    assert generations.current is second
    assert [each.generation for each in generations.alive()] == [1, 2]


def test_a_dead_one_is_replaced_at_once_and_one_that_keeps_dying_later_and_later() -> None:
    generations = make()
    pauses = []
    for second in range(4):
        nursery = generations.add(10 + second, float(second), preload=True)
        generations.loaded(nursery, float(second))
        generations.ended(nursery)
        assert nursery.phase is Phase.DEAD
        pauses.append(generations.failed(nursery, float(second)))
    assert pauses == [0.0, 0.1, 0.2, 0.4]
    assert not generations.is_needed(3.3)
    assert generations.is_needed(3.4)
    assert generations.find(1) is None


def test_one_that_could_not_be_started_waits_too() -> None:
    generations = make()
    assert generations.start_failed(0.0) == 0.0
    assert generations.start_failed(0.0) == 0.1
