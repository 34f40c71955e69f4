from datetime import timedelta

import pytest

from supervisor.text import durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("100ms", 0.1),
        ("5s", 5),
        ("5", 5),
        ("1.5 s", 1.5),
        ("10m", 600),
        ("1h", 3600),
        ("2d", 172_800),
        ("00:05:00", 300),
        ("05:00", 300),
        ("1:00:00.5", 3600.5),
    ],
)
def test_a_duration_is_read_as_operators_write_it(text: str, seconds: float) -> None:
    assert durations.parse(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "-5s", "5 parsecs", "1:2:3:4", "9" * 30 + "d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        durations.parse(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.012, "12 ms"), (1.5, "1.5 s"), (200, "3m20s"), (7260, "2h01m")],
)
def test_a_duration_is_told_with_the_precision_that_a_reader_wants(
    seconds: float, text: str
) -> None:
    assert durations.brief(seconds) == text
