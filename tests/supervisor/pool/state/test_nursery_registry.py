from supervisor.backoff import Backoff
from supervisor.pool.state.nursery_registry import NurseryRegistry, Phase


def make() -> NurseryRegistry:
    return NurseryRegistry(Backoff(30.0, 60.0, jitter=lambda most: most), preload=True)


def test_a_nursery_is_needed_until_one_is_loading() -> None:
    nurseries = make()
    assert nurseries.is_needed(0.0)
    nursery = nurseries.add(10, 0.0, preload=True)
    assert not nurseries.is_needed(0.0)
    assert nursery.phase is Phase.LOADING
    assert nurseries.current is None


def test_the_boot_is_timed_from_the_first_code_that_was_loaded() -> None:
    nurseries = make()
    nurseries.loaded(nurseries.add(10, 0.0, preload=True), 1.0)
    nurseries.loaded(nurseries.add(11, 2.0, preload=True), 3.0)
    assert nurseries.first_loaded_at == 1.0


def test_the_newest_loaded_generation_is_current() -> None:
    nurseries = make()
    first = nurseries.add(10, 0.0, preload=True)
    nurseries.loaded(first, 1.0)
    second = nurseries.add(11, 2.0, preload=True)
    assert nurseries.current is first
    nurseries.loaded(second, 3.0)
    assert nurseries.current is second
    assert [each.generation for each in nurseries.alive()] == [1, 2]


def test_a_dead_one_is_replaced_at_once_and_one_that_keeps_dying_later_and_later() -> None:
    nurseries = make()
    pauses = []
    for second in range(4):
        nursery = nurseries.add(10 + second, float(second), preload=True)
        nurseries.loaded(nursery, float(second))
        nurseries.ended(nursery)
        assert nursery.phase is Phase.DEAD
        pauses.append(nurseries.pause_after(nursery.loaded_at, float(second)))
    assert pauses == [0.0, 0.1, 0.2, 0.4]
    assert not nurseries.is_needed(3.3)
    assert nurseries.is_needed(3.4)
    assert nurseries.find(1) is None


def test_one_that_could_not_be_started_waits_too() -> None:
    nurseries = make()
    assert nurseries.pause_after(None, 0.0) == 0.0
    assert nurseries.pause_after(None, 0.0) == 0.1
