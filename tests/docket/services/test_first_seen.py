"""The times at which foreign names were first seen."""

import pytest

from docket.services import first_seen
from docket.services.first_seen import FirstSeen


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr(first_seen, "monotonic", lambda: clock[0])
    return clock


def test_a_name_is_as_old_as_its_first_sight_until_it_is_forgotten(clock: list[float]) -> None:
    seen = FirstSeen()
    assert (seen.seconds("a"), seen.note("a")) == (0, 0)
    clock[0] += 5
    assert (seen.seconds("a"), seen.note("a"), seen.note("b")) == (5, 5, 0)

    seen.forget("a")
    seen.forget("c")

    assert (seen.note("a"), seen.note("b")) == (0, 0)
    clock[0] += 1
    assert (seen.note("a"), seen.note("b")) == (1, 1)


def test_the_oldest_names_give_way_to_others(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_seen, "MOST_NAMES", 2)
    seen = FirstSeen()
    for name in ("a", "b", "c"):
        seen.note(name)
    clock[0] += 5

    assert [seen.seconds(name) for name in ("a", "b", "c")] == [0, 5, 5]
    assert seen.note("c") == 5
