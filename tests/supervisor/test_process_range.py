"""The bounds of a pool as they are written."""

import pytest

from supervisor.config import SupervisorConfig
from supervisor.errors import InvalidOption
from supervisor.process_range import ProcessRange, parse


@pytest.mark.parametrize(
    ("text", "size"),
    [("8", 8), ("2:16", ProcessRange(2, 16)), (" 1 : 4 ", ProcessRange(1, 4))],
)
def test_a_size_is_a_number_or_two(text: str, size: int | ProcessRange) -> None:
    assert parse(text) == size


@pytest.mark.parametrize("text", ["", "many", ":", "2:", ":16", "2:4:8", "2-16", "1.5:3"])
def test_anything_else_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        parse(text)


def test_a_range_is_shown_as_it_is_written() -> None:
    assert str(ProcessRange(2, 16)) == "2:16"
    assert parse(str(ProcessRange(2, 16))) == ProcessRange(2, 16)


@pytest.mark.parametrize(("processes", "clamped"), [(1, 2), (2, 2), (9, 9), (16, 16), (40, 16)])
def test_a_number_is_brought_within_the_bounds(processes: int, clamped: int) -> None:
    assert ProcessRange(2, 16).clamp(processes) == clamped


@pytest.mark.parametrize("bounds", [(0, 4), (4, 2), (1, 1025), (-1, -1)])
def test_bounds_that_no_pool_has_are_refused_as_they_were_given(bounds: tuple[int, int]) -> None:
    with pytest.raises(InvalidOption) as refused:
        SupervisorConfig(processes=ProcessRange(*bounds))
    assert str(refused.value) == (
        f"--processes: got '{bounds[0]}:{bounds[1]}', expected a whole number from 1 to 1024,"
        " or a range of them such as 2:16"
    )


def test_a_fixed_size_has_equal_bounds_and_a_pool_starts_with_the_fewest() -> None:
    assert SupervisorConfig(processes=4).bounds == ProcessRange(4, 4)
    between = SupervisorConfig(processes=ProcessRange(2, 16))
    assert between.bounds == ProcessRange(2, 16)
    assert between.restarts_allowed == 20
