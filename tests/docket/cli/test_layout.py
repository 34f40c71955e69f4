"""The layout of a table for a terminal."""

from hypothesis import given
from hypothesis import strategies as st

from docket.cli.layout import LEAST_NAME, Column, fit

FRAME = 3


def test_with_room_every_column_has_the_width_of_its_longest_text() -> None:
    columns = [Column("Key", ["a", "k" * 40], is_names=True), Column("Error", ["it is down"])]

    assert fit(columns, ["Error"], 80) == {"Key": 40, "Error": 10}


def test_names_and_texts_share_the_room_before_a_column_is_left_out() -> None:
    columns = [Column("Key", ["k" * 40], is_names=True), Column("Error", ["word " * 20])]

    assert fit(columns, ["Error"], 50) == {"Key": 22, "Error": 21}


def test_columns_are_left_out_in_their_order_and_the_empty_ones_first() -> None:
    columns = [
        Column("Key", ["k" * 40], is_names=True),
        Column("Attempt", ["1"]),
        Column("Worker", [""]),
        Column("Call", ["c" * 40], is_names=True),
    ]
    expendable = ["Attempt", "Call", "Worker"]
    everything = sum(each.least + FRAME for each in columns) + 1

    assert fit(columns, expendable, everything).keys() == {"Key", "Attempt", "Worker", "Call"}
    assert fit(columns, expendable, everything - 1).keys() == {"Key", "Attempt", "Call"}
    assert fit(columns, expendable, 38).keys() == {"Key", "Call"}
    assert fit(columns, expendable, 20).keys() == {"Key"}


def test_a_column_that_cannot_be_left_out_stays_at_its_least() -> None:
    columns = [Column("Key", ["k" * 40], is_names=True), Column("State", ["running"])]

    assert fit(columns, [], 10) == {"Key": LEAST_NAME, "State": len("running")}


@given(
    st.lists(
        st.tuples(st.lists(st.text(st.characters(codec="ascii"), max_size=60)), st.booleans()),
        min_size=1,
        max_size=6,
    ),
    st.integers(20, 200),
)
def test_a_table_is_no_wider_than_its_terminal_unless_every_column_is_at_its_least(
    texts: list[tuple[list[str], bool]], width: int
) -> None:
    columns = [Column(f"c{n}", lines, names) for n, (lines, names) in enumerate(texts)]

    widths = fit(columns, [f"c{n}" for n in range(1, len(columns))], width)

    least = {each.heading: each.least for each in columns}
    total = sum(widths.values()) + FRAME * len(widths) + 1
    assert total <= width or widths == {"c0": least["c0"]}
    assert all(widths[name] >= least[name] for name in widths)
