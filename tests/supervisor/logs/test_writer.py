"""Lines are written whole and in order, and a reader that does not read blocks no process."""

import contextlib
import fcntl
import logging
import os
import re
import select
import signal
import threading
from collections.abc import Iterator

import pytest

from supervisor.logs import writer
from supervisor.logs.writer import LogWriter, LogWriterHandler, encoded, write
from tests.support.processes import Pipe, fork


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe(*os.pipe())
    yield made
    made.close()


def small(pipe: Pipe) -> None:
    fcntl.fcntl(pipe.write, fcntl.F_SETPIPE_SZ, 4096)


def fill(pipe: Pipe) -> None:
    """Fill the pipe to its last byte."""
    small(pipe)
    os.write(pipe.write, b"x" * 4095 + b"\n")


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


def test_lines_of_many_processes_are_not_torn(pipe: Pipe) -> None:
    children = 4
    pids: list[int] = []
    for number in range(children):
        if (pid := fork()) == 0:
            for _ in range(20):
                write(pipe.write, encoded(str(number) * 8000))
            os._exit(0)
        pids.append(pid)
    pipe.close_write()
    with os.fdopen(os.dup(pipe.read), "rb") as stream:
        lines = stream.read().splitlines()
    for pid in pids:
        os.waitpid(pid, 0)
    assert len(lines) == children * 20
    assert all(len(set(line)) == 1 and len(line) == 8000 for line in lines)


@pytest.mark.parametrize("patience_seconds", [None, 30.0])
def test_a_descriptor_that_does_not_block_is_written_whole_and_left_so(
    pipe: Pipe, patience_seconds: float | None
) -> None:
    os.set_blocking(pipe.write, False)
    data = b"x" * 200_000
    got: list[bytes] = []

    def read_all() -> None:
        while sum(map(len, got)) < len(data):
            got.append(os.read(pipe.read, 65536))

    reader = threading.Thread(target=read_all)
    reader.start()
    assert write(pipe.write, data, patience_seconds)
    reader.join(10)
    assert b"".join(got) == data
    assert not os.get_blocking(pipe.write)


def test_a_write_waits_for_a_faster_writer(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    real, refused = os.write, [True]

    def write_later(fd: int, data: bytes) -> int:
        if refused.pop() if refused else False:
            raise BlockingIOError
        return real(fd, data)

    monkeypatch.setattr(os, "write", write_later)
    assert write(pipe.write, b"line\n")
    assert os.read(pipe.read, 100) == b"line\n"


def test_a_reader_that_is_gone_raises_nothing(pipe: Pipe) -> None:
    pipe.close_read()
    assert not write(pipe.write, b"nobody reads this\n")


def test_a_descriptor_that_is_closed_raises_nothing(pipe: Pipe) -> None:
    fd = pipe.write
    pipe.close_write()
    assert not write(fd, b"nobody reads this\n")
    assert not write(-1, b"nor this\n", 0.0)


def test_a_descriptor_that_is_closed_during_the_write_raises_nothing(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def write_and_close(fd: int, data: bytes) -> int:
        written = real(fd, data)
        pipe.close_write()
        return written

    monkeypatch.setattr(os, "write", write_and_close)
    assert write(pipe.write, b"the last line\n")
    assert os.read(pipe.read, 100) == b"the last line\n"


def test_a_line_whose_writer_was_killed_is_cut_off_and_the_next_one_is_whole(pipe: Pipe) -> None:
    small(pipe)
    if (pid := fork()) == 0:
        write(pipe.write, b"x" * 50_000 + b"\n")
        os._exit(0)
    got = os.read(pipe.read, 100)  # it has begun
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    while len(got) < 4096:
        got += os.read(pipe.read, 4096 - len(got))
    rest: list[bytes] = []
    reader = threading.Thread(
        target=lambda: rest.extend(iter(lambda: os.read(pipe.read, 4096), b""))
    )
    reader.start()
    assert write(pipe.write, b"next\n")
    assert write(pipe.write, b"and next\n")
    pipe.close_write()
    reader.join(10)
    cut, *lines = (got + b"".join(rest)).split(b"\n")
    assert set(cut) == {ord("x")}
    assert len(cut) < 50_000
    assert lines == [b"next", b"and next", b""]


def test_a_line_that_could_not_be_finished_in_time_is_cut_off_too(pipe: Pipe) -> None:
    small(pipe)
    assert not write(pipe.write, b"x" * 5000 + b"\n", 0.05)
    assert os.read(pipe.read, 8192) == b"x" * 4096
    assert write(pipe.write, b"next\n")
    assert os.read(pipe.read, 8192) == b"\nnext\n"


def test_a_write_waits_for_a_stopped_reader_no_longer_than_allowed(pipe: Pipe) -> None:
    fill(pipe)
    assert not write(pipe.write, b"too much\n", 0.0)
    assert not write(pipe.write, b"too much\n", 0.05)
    os.read(pipe.read, 4096)
    assert write(pipe.write, b"now\n", 0.0)


@contextlib.contextmanager
def silent_holder(pipe: Pipe) -> Iterator[None]:
    """Another process that has the lock and writes nothing, as one that is stopped."""
    locked, lock = os.pipe()
    if (pid := fork()) == 0:
        fcntl.lockf(pipe.write, fcntl.LOCK_EX)
        os.write(lock, b"!")
        signal.pause()
    try:
        assert os.read(locked, 1) == b"!"
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(locked)
        os.close(lock)


@contextlib.contextmanager
def silent_writer(pipe: Pipe, line: bytes) -> Iterator[None]:
    """Another process that is stopped while it writes a line for which there is no room."""
    if (pid := fork()) == 0:
        write(pipe.write, line)
        os._exit(0)
    try:
        poller = select.poll()
        poller.register(pipe.read, select.POLLIN)
        assert poller.poll(20_000)
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_write_waits_for_a_lock_no_longer_than_allowed(pipe: Pipe) -> None:
    with silent_holder(pipe):
        assert not write(pipe.write, b"not now\n", 0.05)
    assert write(pipe.write, b"now\n", 5.0)


@pytest.mark.parametrize("patience_seconds", [None, writer.PATIENCE_SECONDS])
def test_a_holder_of_the_lock_that_writes_nothing_does_not_end_the_log_of_the_others(
    pipe: Pipe, patience_seconds: float | None
) -> None:
    with silent_holder(pipe):
        assert write(pipe.write, b"first\n", patience_seconds)
        assert write(pipe.write, b"second\n", patience_seconds)
    assert os.read(pipe.read, 100) == b"first\nsecond\n"


def test_a_holder_that_was_stopped_in_the_middle_of_a_line_does_not_end_the_log_either(
    pipe: Pipe,
) -> None:
    small(pipe)
    with silent_writer(pipe, b"x" * 50_000 + b"\n"):
        assert os.read(pipe.read, 4096) == b"x" * 4096
        assert write(pipe.write, b"next\n")
        assert os.read(pipe.read, 4096) == b"\nnext\n"


def test_a_holder_that_waits_for_the_reader_is_waited_for(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SILENT_HOLDER_SECONDS", 0.0)
    fill(pipe)
    with silent_holder(pipe):
        assert not write(pipe.write, b"not before the reader reads\n", 0.05)


def test_holders_that_write_one_after_another_are_waited_for(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def writes_of_others(fd: int) -> int:
        nonlocal looks
        looks += 1
        return looks % 64

    monkeypatch.setattr(writer, "SILENT_HOLDER_SECONDS", 0.0)
    monkeypatch.setattr(writer, "_mark", writes_of_others)
    with silent_holder(pipe):
        assert not write(pipe.write, b"not before them\n", 0.05)


def test_lines_lost_to_a_stopped_reader_are_counted_and_reported(pipe: Pipe) -> None:
    small(pipe)
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
    fill(pipe)
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

    fill(pipe)
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
