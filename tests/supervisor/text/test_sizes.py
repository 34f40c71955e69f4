"""Sizes and shares as operators write them."""

import pytest

from supervisor.text import sizes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("300M", 300_000_000),
        ("1.5G", 1_500_000_000),
        ("512MiB", 512 << 20),
        ("2Gi", 2 << 30),
        (" 64 kb ", 64_000),
        ("1234567", 1_234_567),
    ],
)
def test_a_size_is_read_with_its_unit(text: str, expected: int) -> None:
    assert sizes.parse(text) == expected


@pytest.mark.parametrize("text", ["", "M", "-1M", "1T", "1.M", "ten", "١M"])
def test_what_is_no_size_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(ValueError, match="a size such as 300M"):
        sizes.parse(text)


@pytest.mark.parametrize(("text", "expected"), [("10%", 0.1), ("0.25", 0.25), ("0", 0.0)])
def test_a_share_is_a_percentage_or_a_fraction(text: str, expected: float) -> None:
    assert sizes.parse_share(text) == expected


@pytest.mark.parametrize("text", ["", "%", "-1%", "a tenth"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a share such as 10%"):
        sizes.parse_share(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (14_500, "14.5 kB"), (14_500_000, "14.5 MB"), (2e9, "2.0 GB")],
)
def test_a_size_is_shown_for_a_person(size: float, text: str) -> None:
    assert sizes.brief(size) == text
