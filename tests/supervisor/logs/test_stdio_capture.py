"""What is printed keeps its bytes and gets whole lines."""

import os
from collections.abc import Iterator

import pytest

from supervisor.logs.stdio_capture import MOST_UNENDED, LineStream
from supervisor.logs.writer import LogWriter
from tests.support.processes import Pipe


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe(*os.pipe())
    yield made
    made.close()


@pytest.fixture
def way(pipe: Pipe) -> Iterator[LogWriter]:
    made = LogWriter(lambda lost: b"lost\n", pipe.write)
    yield made
    made.stop()


def as_it_is(line: bytes) -> bytes:
    return line


def lines_into(pipe: Pipe, way: LogWriter) -> LineStream:
    lines = LineStream(2)
    lines.lead(way, pipe.write, as_it_is)
    return lines


def test_pieces_of_a_line_wait_for_its_end(pipe: Pipe, way: LogWriter) -> None:
    way.start()
    lines = lines_into(pipe, way)
    assert lines.write(b"one, ") == 5
    lines.write(b"two\nthree\nfo")
    lines.write(memoryview(b"ur\n"))
    lines.write(b"the rest")
    way.stop()
    assert os.read(pipe.read, 1000) == b"one, two\nthree\nfour\n"
    lines.end_line()
    lines.end_line()
    assert os.read(pipe.read, 1000) == b"the rest"


def test_a_line_that_never_ends_is_not_kept_for_ever(pipe: Pipe, way: LogWriter) -> None:
    way.start()
    lines = lines_into(pipe, way)
    lines.write(b"x" * MOST_UNENDED)
    lines.write(b"y")
    got = b""
    while b"y" not in got:
        got += os.read(pipe.read, 1 << 20)
    assert len(got) == MOST_UNENDED + 1


def test_without_a_thread_nothing_is_held_back(pipe: Pipe, way: LogWriter) -> None:
    lines_into(pipe, way).write(b"a prompt: ")
    assert os.read(pipe.read, 1000) == b"a prompt: "


def test_lines_that_lead_nowhere_yet_are_passed_over() -> None:
    assert LineStream(1).write(b"too early\n") == 10


def test_it_stands_for_its_descriptor(pipe: Pipe, way: LogWriter) -> None:
    lines = lines_into(pipe, way)
    assert (lines.fileno(), lines.name, lines.writable()) == (2, "<stderr>", True)
    assert lines.isatty() is os.isatty(2)
