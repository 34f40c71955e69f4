"""Lines are queued, counted when they are lost, and block no process that writes them."""

import logging
import os
import re

import pytest

from supervisor.logs import writer
from supervisor.logs.shared_descriptor import write
from supervisor.logs.writer import LogWriter, LogWriterHandler
from tests.support.processes import Pipe, fork


def notice(lost: int) -> bytes:
    return b"lost %d\n" % lost


def read_all_of(pipe: Pipe, lines: int) -> bytes:
    """Read until so many lines were read, or reported as lost."""
    got = b""
    while not got.endswith(b"\n") or got.count(b"\n") - len(_notices(got)) + lost(got) < lines:
        got += os.read(pipe.read, 65536)
    return got


def lost(got: bytes) -> int:
    """The number of lines that the notices report as lost."""
    return sum(_notices(got))


def _notices(got: bytes) -> list[int]:
    return [int(number) for number in re.findall(rb"^lost (\d+)$", got, re.MULTILINE)]


def test_lines_lost_to_a_stopped_reader_are_counted_and_reported(pipe: Pipe) -> None:
    pipe.make_small()
    log_writer = LogWriter(notice, pipe.write, capacity=10)
    log_writer.start()
    log_writer.start()
    for number in range(200):
        log_writer.put(pipe.write, b"%03d" % number + b"x" * 1000 + b"\n")
    assert log_writer.dropped > 100
    log_writer.stop(timeout_seconds=0.05)
    got = read_all_of(pipe, 200)
    assert lost(got) == log_writer.dropped
    assert got.count(b"x\n") == 200 - log_writer.dropped


def test_the_queue_is_bounded_in_bytes_too_and_a_single_long_line_is_not_lost(pipe: Pipe) -> None:
    pipe.fill()
    log_writer = LogWriter(notice, pipe.write, capacity_bytes=10_000)
    log_writer.start()
    log_writer.put(pipe.write, b"first\n")  # taken by the thread, or waiting alone
    os.read(pipe.read, 4096)
    assert read_all_of(pipe, 1) == b"first\n"
    os.write(pipe.write, b"x" * 4095 + b"\n")
    log_writer.put(pipe.write, b"y" * 50_000 + b"\n")
    for _ in range(3):
        log_writer.put(pipe.write, b"z" * 6000 + b"\n")
    assert 1 <= log_writer.dropped <= 3  # by whether the thread has taken the long one by now
    got = read_all_of(pipe, 1 + 1 + 3)
    assert lost(got) == log_writer.dropped
    assert got.count(b"y") == 50_000
    assert got.count(b"z" * 6000 + b"\n") == 3 - log_writer.dropped
    log_writer.stop()


def test_lines_that_could_not_be_written_are_counted(pipe: Pipe) -> None:
    pipe.close_read()
    log_writer = LogWriter(notice, pipe.write)
    log_writer.start()
    log_writer.put(pipe.write, b"nobody reads this\n")
    log_writer.stop()
    log_writer.put(pipe.write, b"nor this\n")
    assert log_writer.dropped == 2


def test_without_a_thread_a_stopped_reader_is_waited_for_once(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float | None] = []

    def note(fd: int, data: bytes, patience_seconds: float | None = None) -> bool:
        waits.append(patience_seconds)
        return write(fd, data, 0.0)

    pipe.fill()
    log_writer = LogWriter(notice, pipe.write)
    monkeypatch.setattr(writer, "write", note)
    for _ in range(3):
        log_writer.put(pipe.write, b"lost\n")
    for _ in range(2):
        os.read(pipe.read, 4096)
        log_writer.put(pipe.write, b"read\n")
    most = writer.PATIENCE_SECONDS
    assert waits == [most, 0.0, 0.0, 0.0, most]
    assert log_writer.dropped == 3


def test_a_fork_of_a_process_with_a_thread_writes_by_itself(pipe: Pipe) -> None:
    log_writer = LogWriter(notice, pipe.write)
    log_writer.start()
    if (pid := fork()) == 0:
        log_writer.put(pipe.write, b"from the child\n")
        os._exit(0 if not log_writer.queues else 1)
    # Not os.wait(), which takes any child: one that an earlier test left may end first.
    _, status = os.waitpid(pid, 0)
    assert status == 0
    log_writer.put(pipe.write, b"from the parent\n")
    log_writer.stop()
    assert os.read(pipe.read, 1000) == b"from the child\nfrom the parent\n"


def test_a_handler_escapes_characters_that_utf_8_does_not_have(pipe: Pipe) -> None:
    handler = LogWriterHandler(LogWriter(notice, pipe.write), pipe.write)
    handler.handle(logging.makeLogRecord({"msg": "a file \udc80"}))
    assert os.read(pipe.read, 100) == b"a file \\udc80\n"


def test_a_message_that_cannot_be_formatted_is_reported_and_skipped(
    pipe: Pipe, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = LogWriterHandler(LogWriter(notice, pipe.write), pipe.write)
    handler.handle(logging.makeLogRecord({"msg": "%d apples", "args": ("many",)}))
    assert "Logging error" in capsys.readouterr().err
