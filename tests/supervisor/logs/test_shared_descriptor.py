"""Lines of many processes are whole and in order, whoever falls silent or does not read."""

import contextlib
import fcntl
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from supervisor.logs import shared_descriptor
from supervisor.logs.shared_descriptor import write
from supervisor.logs.writer import PATIENCE_SECONDS, encoded
from tests.support.processes import Pipe, fork


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
    pipe.make_small()
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
    pipe.make_small()
    assert not write(pipe.write, b"x" * 5000 + b"\n", 0.05)
    assert os.read(pipe.read, 8192) == b"x" * 4096
    assert write(pipe.write, b"next\n")
    assert os.read(pipe.read, 8192) == b"\nnext\n"


def test_a_write_waits_for_a_stopped_reader_no_longer_than_allowed(pipe: Pipe) -> None:
    pipe.fill()
    assert not write(pipe.write, b"too much\n", 0.0)
    assert not write(pipe.write, b"too much\n", 0.05)
    os.read(pipe.read, 4096)
    assert write(pipe.write, b"now\n", 0.0)


def test_a_write_that_found_no_room_leaves_the_cut_line_before_it_cut_off(pipe: Pipe) -> None:
    pipe.make_small()
    assert not write(pipe.write, b"x" * 5000 + b"\n", 0.05)
    assert not write(pipe.write, b"no room\n", 0.05)
    os.read(pipe.read, 8192)
    assert write(pipe.write, b"next\n")
    assert os.read(pipe.read, 8192) == b"\nnext\n"


@contextlib.contextmanager
def child(run: Callable[[], object]) -> Iterator[int]:
    """Another process that does so for ever; its pid."""
    if (pid := fork()) == 0:
        try:
            while True:
                run()
        finally:
            os._exit(1)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@contextlib.contextmanager
def reader(pipe: Pipe) -> Iterator[list[bytes]]:
    """A thread that reads until no process can write any more; what it has read."""
    got: list[bytes] = []

    def read_all() -> None:
        while piece := os.read(pipe.read, 65536):
            got.append(piece)

    thread = threading.Thread(target=read_all, daemon=True)
    thread.start()
    try:
        yield got
    finally:
        pipe.close_write()
        thread.join(20)
    assert not thread.is_alive(), "some process still has the pipe"


def test_who_writes_without_end_lets_the_others_in(pipe: Pipe) -> None:
    flood = b"".join(b"%063d\n" % n for n in range(1024))
    with reader(pipe), child(lambda: write(pipe.write, flood)):
        start = time.monotonic()
        for _ in range(20):
            assert write(pipe.write, b"another\n")
        assert time.monotonic() - start < 10.0


def test_past_a_silent_holder_all_write_at_once_and_no_short_line_is_torn(pipe: Pipe) -> None:
    batch = [b"%d" % number * 100 + b"\n" for number in range(10)] * 20
    data = b"".join(batch)
    with reader(pipe) as got, silent_holder(pipe), child(lambda: write(pipe.write, data)):
        start = time.monotonic()
        for _ in range(50):
            # As one without a thread, which does not wait again once its patience has ended.
            assert write(pipe.write, data, PATIENCE_SECONDS)
        assert time.monotonic() - start < 10.0
    *lines, rest = b"".join(got).splitlines(keepends=True)
    assert len(lines) >= 50 * len(batch) - 1
    assert set(lines) <= set(batch)
    assert any(line.startswith(rest) for line in batch)  # the child was killed


def test_what_is_longer_than_a_pipe_keeps_whole_is_written_past_a_silent_holder_too(
    pipe: Pipe,
) -> None:
    data = b"short\n" + b"x" * 10_000 + b"\n" + b"y" * 4096 + b"\nunended"
    with reader(pipe) as got, silent_holder(pipe):
        assert write(pipe.write, data)
    assert b"".join(got) == data


@contextlib.contextmanager
def silent_holder(pipe: Pipe) -> Iterator[None]:
    """Another process that has the lock and writes nothing, as one that is stopped."""
    locked, lock = os.pipe()

    def hold() -> None:
        fcntl.lockf(pipe.write, fcntl.LOCK_EX, 1)
        os.write(lock, b"!")
        signal.pause()

    with child(hold):
        assert os.read(locked, 1) == b"!"
        yield
    os.close(locked)
    os.close(lock)


@contextlib.contextmanager
def silent_writer(pipe: Pipe, line: bytes) -> Iterator[None]:
    """Another process that is stopped while it writes a line for which there is no room."""
    with child(lambda: write(pipe.write, line)) as pid:
        poller = select.poll()
        poller.register(pipe.read, select.POLLIN)
        assert poller.poll(20_000)
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)
        yield


def test_a_write_waits_for_a_lock_no_longer_than_allowed(pipe: Pipe) -> None:
    with silent_holder(pipe):
        assert not write(pipe.write, b"not now\n", 0.05)
    assert write(pipe.write, b"now\n", 5.0)


@pytest.mark.parametrize("patience_seconds", [None, PATIENCE_SECONDS])
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
    pipe.make_small()
    with silent_writer(pipe, b"x" * 50_000 + b"\n"):
        assert os.read(pipe.read, 4096) == b"x" * 4096
        assert write(pipe.write, b"next\n")
        assert os.read(pipe.read, 4096) == b"\nnext\n"


def test_a_holder_that_waits_for_the_reader_is_waited_for(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_descriptor, "SILENT_HOLDER_SECONDS", 0.0)
    pipe.fill()
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

    monkeypatch.setattr(shared_descriptor, "SILENT_HOLDER_SECONDS", 0.0)
    monkeypatch.setattr(shared_descriptor, "_mark", writes_of_others)
    with silent_holder(pipe):
        assert not write(pipe.write, b"not before them\n", 0.05)
