"""Names without their middle."""

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from docket_display.shortening import shorten


def test_a_name_that_fits_stays_and_a_longer_one_loses_its_middle() -> None:
    assert shorten("customer-17", 11) == "customer-17"
    assert shorten("customer-number-17", 11) == "cust...r-17"
    assert shorten("customer-number-17", 4) == "c..."
    assert shorten("customer-number-17", 2) == ".."


@given(st.text(), st.integers(0, 40))
def test_no_name_is_wider_than_its_column(text: str, width: int) -> None:
    shown = shorten(text, width)

    assert cell_len(shown) <= max(width, 0) or shown == text
    assert (shown == text) == (cell_len(text) <= width)
