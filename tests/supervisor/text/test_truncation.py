"""Texts of the user's, cut to the limits of messages and made safe to print."""

from hypothesis import given
from hypothesis import strategies as st

from supervisor.text import truncation

anything = st.text(st.characters(exclude_categories=()), max_size=300)


def test_what_fits_is_left_as_it_is() -> None:
    assert truncation.head("abc", 10) == "abc"
    assert truncation.tail("abc", 10) == "abc"
    assert truncation.head_bytes("äöü", 6) == "äöü"


def test_the_cut_is_marked_and_the_right_end_kept() -> None:
    assert truncation.head("abcdefghij", 8) == "abc[...]"
    assert truncation.tail("abcdefghij", 8) == "[...]hij"
    assert truncation.head("12345678", 8, mark="...") == "12345678"
    assert truncation.head("123456789", 8, mark="...") == "12345..."


def test_bytes_are_cut_between_characters() -> None:
    assert truncation.head_bytes("äöü", 5) == "äö"


@given(anything, st.integers(5, 400))
def test_no_excerpt_is_longer_than_its_limit(text: str, limit: int) -> None:
    for cut in (truncation.head(text, limit), truncation.tail(text, limit)):
        assert len(cut) <= limit
    assert len(truncation.head_bytes(text, limit).encode()) <= limit


def test_what_utf_8_does_not_have_is_escaped() -> None:
    assert truncation.head("caf\udce9.py", 100) == "caf\\udce9.py"
    assert truncation.tail("caf\udce9.py", 100) == "caf\\udce9.py"
