"""Texts of the user's, cut to what a message may hold."""

from hypothesis import given
from hypothesis import strategies as st

from supervisor import excerpts

anything = st.text(st.characters(exclude_categories=()), max_size=300)


def test_what_fits_is_left_as_it_is() -> None:
    assert excerpts.head("abc", 10) == "abc"
    assert excerpts.tail("abc", 10) == "abc"
    assert excerpts.head_bytes("äöü", 6) == "äöü"


def test_the_cut_is_marked_and_the_right_end_kept() -> None:
    assert excerpts.head("abcdefghij", 8) == "abc[...]"
    assert excerpts.tail("abcdefghij", 8) == "[...]hij"


def test_bytes_are_cut_between_characters() -> None:
    assert excerpts.head_bytes("äöü", 5) == "äö"


@given(anything, st.integers(5, 400))
def test_no_excerpt_is_longer_than_its_limit(text: str, limit: int) -> None:
    for cut in (excerpts.head(text, limit), excerpts.tail(text, limit)):
        assert len(cut) <= limit
    assert len(excerpts.head_bytes(text, limit).encode()) <= limit


def test_what_utf_8_does_not_have_is_escaped() -> None:
    assert excerpts.head("caf\udce9.py", 100) == "caf\\udce9.py"
    assert excerpts.tail("caf\udce9.py", 100) == "caf\\udce9.py"
