"""Cutting lines to a width, and leaving out columns of a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from docket_display.printable import on_one_line
from supervisor.ctl.table import Column, cut, table

COLUMNS = (
    Column("slot", [Text("1"), Text("10")]),
    Column("state", [Text("ready", "green"), Text("dead", "red")], rank=2, left=True),
    Column("lag", [Text("5 ms"), Text("-")], rank=1),
)


def drawn(columns: tuple[Column, ...], width: int | None) -> tuple[list[str], list[str]]:
    lines, hidden = table(columns, width)
    return [line.plain.rstrip() for line in lines], hidden


def test_a_table_has_its_texts_below_each_other_on_their_sides() -> None:
    assert drawn(COLUMNS, None) == (
        [
            "slot  state   lag",
            "   1  ready  5 ms",
            "  10  dead      -",
        ],
        [],
    )


def test_a_table_leaves_out_the_columns_of_least_rank_and_says_which() -> None:
    assert drawn(COLUMNS, 17) == drawn(COLUMNS, None)
    assert drawn(COLUMNS, 16) == (["slot  state", "   1  ready", "  10  dead"], ["lag"])
    assert drawn(COLUMNS, 10) == (["slot", "   1", "  10"], ["state", "lag"])


def test_a_table_whose_last_columns_have_no_room_either_is_cut() -> None:
    assert drawn(COLUMNS, 3) == (["...", "...", "..."], ["state", "lag"])


def test_wide_and_combining_characters_take_the_columns_that_terminals_give_them() -> None:
    columns = (
        Column("key", [Text("東京"), Text("e\u0301te"), Text("ab")], left=True),
        Column("n", [Text("1"), Text("2"), Text("3")]),
    )
    assert drawn(columns, None)[0] == ["key   n", "東京  1", "e\u0301te   2", "ab    3"]


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (None, "one two"),
        (7, "one two"),
        (6, "one..."),
        (5, "on..."),
        (4, "o..."),
        (3, "..."),
        (2, ".."),
        (0, ""),
    ],
)
def test_a_cut_line_ends_in_dots(width: int | None, text: str) -> None:
    assert cut(Text.assemble("one", " ", "two"), width).plain == text


@given(st.lists(st.text(), max_size=5), st.integers(0, 40))
def test_a_cut_line_is_never_wider_than_it_may_be(texts: list[str], width: int) -> None:
    assert cut(Text.assemble(*map(on_one_line, texts)), width).cell_len <= width


@given(st.lists(st.lists(st.text(max_size=9), min_size=2, max_size=2), min_size=1), st.integers(0))
def test_no_line_of_a_table_is_wider_than_it_may_be(cells: list[list[str]], width: int) -> None:
    columns = [
        Column(str(number), [Text(on_one_line(text)) for text in texts], rank=number or None)
        for number, texts in enumerate(cells)
    ]
    lines, hidden = table(columns, width)
    assert all(line.cell_len <= width for line in lines)
    assert set(hidden) <= {each.title for each in columns if each.rank is not None}


def test_cells_keep_their_styles_and_padding_has_none() -> None:
    lines, _ = table([Column("state", [Text("up", "green"), Text("dead", "red")])], None)
    assert [(line.plain, line.spans) for line in lines] == [
        ("state", [(0, 5, "dim")]),
        ("   up", [(3, 5, "green")]),
        (" dead", [(1, 5, "red")]),
    ]
