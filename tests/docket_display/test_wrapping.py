"""Texts that are wrapped between their words."""

from hypothesis import example, given
from hypothesis import strategies as st

from docket_display.wrapping import column_after, flow, wrap

TEXTS = st.text(st.characters(codec="ascii", categories=["L", "N", "Zs"]), max_size=200)


@example("0 0", 1, 0, 1)  # a word that ends where the next line would begin
@given(TEXTS, st.integers(1, 60), st.integers(0, 60), st.integers(0, 20))
def test_a_flow_keeps_every_word_whole(text: str, width: int, column: int, indent: int) -> None:
    flowed = flow(text, width, column, indent)

    assert flowed.split() == text.split()
    first, *further = flowed.split("\n")
    assert column_after(first, column) <= max(width, column) or len(first.split()) <= 1
    for line in further:
        assert line.startswith(" " * indent)
        assert len(line) <= width or len(line.split()) == 1


def test_a_further_line_is_indented() -> None:
    assert flow("one two three", 7, 0, 2) == "one two\n  three"
    assert flow(" one two", 9, 6, 2) == "\n  one two"


def test_a_call_may_be_parted_from_its_key_and_from_nothing_else() -> None:
    assert flow("ship(...){order-17}", 12, 0, 2) == "ship(...)\n  {order-17}"
    assert flow("order-{17}-of-many", 12, 0, 2) == "order-{17}-of-many"


def test_a_line_that_fits_stays_as_it_is() -> None:
    assert wrap("  a   line ", 11) == ["  a   line "]


def test_a_long_line_goes_on_below_itself() -> None:
    assert wrap("  raise ValueError(one, two)", 20) == [
        "  raise",
        "    ValueError(one,",
        "    two)",
    ]


def test_marks_below_code_are_left_out_where_they_do_not_fit() -> None:
    assert wrap("      ~~~~^^^^^", 10) == []
    assert wrap("      ^^^", 10) == ["      ^^^"]


def test_a_column_goes_on_or_begins_anew() -> None:
    assert column_after("four", 3) == 7
    assert column_after("four\n  six", 3) == 5
