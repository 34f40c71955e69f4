"""Text for terminals: what is safe, what fits, what is given up where there is no room."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.ctl.table import Column, Piece, cut, paint, table
from supervisor.text.truncation import escape

COLUMNS = (
    Column("slot", [Piece("1"), Piece("10")]),
    Column("state", [Piece("ready", "green"), Piece("dead", "red")], rank=2, left=True),
    Column("lag", [Piece("5 ms"), Piece("-")], rank=1),
)


def drawn(columns: tuple[Column, ...], width: int | None) -> tuple[list[str], list[str]]:
    lines, hidden = table(columns, width)
    return [paint(line, colours=False) for line in lines], hidden


def width_of(line: tuple[Piece, ...]) -> int:
    return sum(piece.width for piece in line)


def test_a_table_has_its_texts_below_each_other_on_their_sides() -> None:
    assert drawn(COLUMNS, None) == (
        [
            "slot  state   lag",
            "   1  ready  5 ms",
            "  10  dead      -",
        ],
        [],
    )


def test_a_table_gives_up_the_columns_of_least_rank_and_says_which() -> None:
    assert drawn(COLUMNS, 17) == drawn(COLUMNS, None)
    assert drawn(COLUMNS, 16) == (["slot  state", "   1  ready", "  10  dead"], ["lag"])
    assert drawn(COLUMNS, 10) == (["slot", "   1", "  10"], ["state", "lag"])


def test_a_table_whose_last_columns_have_no_room_either_is_cut() -> None:
    assert drawn(COLUMNS, 3) == (["...", "...", "..."], ["state", "lag"])


def test_wide_and_combining_characters_take_the_columns_that_terminals_give_them() -> None:
    columns = (
        Column("key", [Piece("東京"), Piece("e\u0301te"), Piece("ab")], left=True),
        Column("n", [Piece("1"), Piece("2"), Piece("3")]),
    )
    assert drawn(columns, None)[0] == ["key   n", "東京  1", "e\u0301te   2", "ab    3"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("größe 東京", "größe 東京"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\u202eright", "\\u202eright"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_could_draw_on_a_terminal_is_spelled_out(text: str, shown: str) -> None:
    assert escape(text) == shown


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
def test_a_line_is_cut_where_it_can_be_seen(width: int | None, text: str) -> None:
    line = cut([Piece("one"), Piece(" "), Piece("two")], width)
    assert paint(line, colours=False) == text


@given(st.lists(st.text(), max_size=5), st.integers(0, 40))
def test_a_cut_line_is_never_wider_than_it_may_be(texts: list[str], width: int) -> None:
    assert width_of(cut([Piece(escape(text)) for text in texts], width)) <= width


@given(st.lists(st.lists(st.text(max_size=9), min_size=2, max_size=2), min_size=1), st.integers(0))
def test_no_line_of_a_table_is_wider_than_it_may_be(cells: list[list[str]], width: int) -> None:
    columns = [
        Column(str(number), [Piece(escape(text)) for text in texts], rank=number or None)
        for number, texts in enumerate(cells)
    ]
    lines, hidden = table(columns, width)
    assert all(width_of(line) <= width for line in lines)
    assert set(hidden) <= {each.title for each in columns if each.rank is not None}


def test_styles_are_painted_only_with_colours() -> None:
    line = (Piece("dead", "red"), Piece(" "), Piece("ten", "bold"))
    assert paint(line, colours=False) == "dead ten"
    assert paint(line, colours=True) == "\x1b[31mdead\x1b[0m \x1b[1mten\x1b[0m"
