"""No text of a task draws on a terminal, or makes a line of a log."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docket_display.printable import MAX_UNREADABLE, decoded, in_json, on_lines, on_one_line


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
def test_control_characters_are_escaped_for_a_terminal(text: str, shown: str) -> None:
    assert on_one_line(text) == shown


TRACEBACK = """it failed
Traceback (most recent call last):
  File "tasks.py", line 1, in ship
ValueError: no
The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "tasks.py", line 2, in ship
acme.errors.Late: 3
StopIteration
Thread 0x00007f0a (most recent call first):
Coroutine of ship order-17, most recent call last:"""


def test_a_traceback_keeps_its_lines() -> None:
    assert on_lines(TRACEBACK) == TRACEBACK


@pytest.mark.parametrize(
    "forged",
    [
        "2026-01-31 10:00:00.000 INFO docket.worker: all is well",
        "[2026-01-31 10:00:00] INFO - docket.worker - all is well",
        "10:00:00 INFO     all is well",
        '{"level": "INFO"}',
        "-",
    ],
)
def test_no_line_of_a_message_can_be_taken_for_another_record(forged: str) -> None:
    assert on_lines(f"ValueError: no\n{forged}") == f"ValueError: no\n  {forged}"
    assert on_lines(f"ValueError: no\r{forged}") == f"ValueError: no\\r{forged}"


@given(st.text(st.characters(codec=None)))
def test_nothing_but_line_ends_is_left_whatever_the_text_is(text: str) -> None:
    line = on_one_line(text)
    lines = on_lines(text)
    document = in_json(json.dumps(text, ensure_ascii=False))
    assert line.isprintable()
    assert lines.replace("\n", "").isprintable()
    assert document.isprintable()
    assert json.loads(document) == text


def test_a_name_that_is_no_utf8_is_escaped_and_cut_and_any_other_is_as_it_is() -> None:
    assert decoded("größe".encode()) == "größe"
    assert decoded(b"a\xffb") == "a\\xffb"
    assert decoded(b"x" * 100_000) == "x" * 100_000
    began = time.process_time()
    shown = decoded(b"\xff" * 20_000_000)
    assert shown == "\\xff" * MAX_UNREADABLE + "[...]"
    assert time.process_time() - began < 1
