"""Prints keep their bytes and become whole lines."""

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
def writer(pipe: Pipe) -> Iterator[LogWriter]:
    made = LogWriter(lambda lost: b"lost\n", pipe.write)
    yield made
    made.stop()


def unchanged(line: bytes) -> bytes:
    return line


def lines_into(pipe: Pipe, writer: LogWriter) -> LineStream:
    lines = LineStream(2)
    lines.redirect(writer, pipe.write, unchanged)
    return lines


def test_pieces_of_a_line_wait_for_its_end(pipe: Pipe, writer: LogWriter) -> None:
    writer.start()
    lines = lines_into(pipe, writer)
    assert lines.write(b"one, ") == 5
    lines.write(b"two\nthree\nfo")
    lines.write(memoryview(b"ur\n"))
    lines.write(b"the rest")
    writer.stop()
    assert os.read(pipe.read, 1000) == b"one, two\nthree\nfour\n"
    lines.end_line()
    lines.end_line()
    assert os.read(pipe.read, 1000) == b"the rest"


def test_a_line_that_never_ends_is_not_kept_for_ever(pipe: Pipe, writer: LogWriter) -> None:
    writer.start()
    lines = lines_into(pipe, writer)
    lines.write(b"x" * MOST_UNENDED)
    lines.write(b"y")
    got = b""
    while b"y" not in got:
        got += os.read(pipe.read, 1 << 20)
    assert len(got) == MOST_UNENDED + 1


def test_without_a_thread_nothing_is_held_back(pipe: Pipe, writer: LogWriter) -> None:
    lines_into(pipe, writer).write(b"a prompt: ")
    assert os.read(pipe.read, 1000) == b"a prompt: "


def test_lines_before_the_redirection_are_dropped() -> None:
    assert LineStream(1).write(b"too early\n") == 10


def test_it_has_the_attributes_of_its_descriptor(pipe: Pipe, writer: LogWriter) -> None:
    lines = lines_into(pipe, writer)
    assert (lines.fileno(), lines.name, lines.writable()) == (2, "<stderr>", True)
    assert lines.isatty() is os.isatty(2)
