"""Log lines: whole, never in anyone's way, and in the format that was asked for."""

import fcntl
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator

import pytest

from supervisor.logs import (
    JsonFormatter,
    LineWriter,
    Logs,
    PlainFormatter,
    QueuedWriter,
    RichFormatter,
    chosen_format,
    configure,
    formatter,
    last_line,
)
from tests.support.processes import Pipe, fork


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe(*os.pipe())
    yield made
    made.close()


def record(message: str = "hello %s", *, error: bool = False) -> logging.LogRecord:
    exc_info = None
    if error:
        try:
            raise ValueError("wrong")
        except ValueError:
            exc_info = sys.exc_info()
    args = ("you",) if "%s" in message else ()
    return logging.LogRecord("docket.worker", logging.INFO, "f", 1, message, args, exc_info)


def test_a_plain_line_has_time_level_logger_and_message() -> None:
    line = PlainFormatter().format(record())
    assert line.endswith(" INFO docket.worker: hello you")


def test_a_json_line_is_one_object() -> None:
    told = json.loads(JsonFormatter().format(record(error=True)))
    assert (told["level"], told["logger"], told["message"]) == (
        "INFO",
        "docket.worker",
        "hello you",
    )
    assert told["exception"].endswith("ValueError: wrong")
    assert told["time"].endswith("+00:00")
    assert "exception" not in json.loads(JsonFormatter().format(record()))


def test_a_rich_line_is_coloured_and_has_its_traceback() -> None:
    assert "\x1b[34mINFO" in RichFormatter().format(record())
    assert "ValueError: wrong" in RichFormatter().format(record(error=True))


def test_the_format_follows_stderr_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda fd: True)
    assert chosen_format(None) == "rich"
    assert chosen_format("json") == "json"
    monkeypatch.setattr(os, "isatty", lambda fd: False)
    assert chosen_format(None) == "plain"
    assert isinstance(formatter("json"), JsonFormatter)
    assert isinstance(formatter("plain"), PlainFormatter)


def test_lines_of_many_processes_are_not_torn(pipe: Pipe) -> None:
    children = 4
    for number in range(children):
        if (pid := fork()) == 0:
            writer = LineWriter(pipe.write)
            for _ in range(20):
                writer.write(str(number) * 8000)
            os._exit(0)
        assert pid
    pipe.close_write()
    with os.fdopen(os.dup(pipe.read), "rb") as stream:
        lines = stream.read().splitlines()
    for _ in range(children):
        os.wait()
    assert len(lines) == children * 20
    assert all(len(set(line)) == 1 and len(line) == 8000 for line in lines)


def test_a_descriptor_that_does_not_block_is_written_whole(pipe: Pipe) -> None:
    os.set_blocking(pipe.write, False)
    text = "x" * 200_000
    got: list[bytes] = []

    def read_all() -> None:
        while sum(map(len, got)) < len(text) + 1:
            got.append(os.read(pipe.read, 65536))

    reader = threading.Thread(target=read_all)
    reader.start()
    LineWriter(pipe.write).write(text)
    reader.join(10)
    assert b"".join(got) == text.encode() + b"\n"


def test_a_reader_that_is_gone_raises_nothing(pipe: Pipe) -> None:
    pipe.close_read()
    LineWriter(pipe.write).write("nobody reads this")


def test_a_descriptor_that_is_closed_raises_nothing(pipe: Pipe) -> None:
    writer = LineWriter(pipe.write)
    pipe.close_write()
    writer.write("nobody reads this")


def test_a_descriptor_that_is_closed_during_the_write_raises_nothing(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def write_and_close(fd: int, data: bytes) -> int:
        written = write(fd, data)
        pipe.close_write()
        return written

    monkeypatch.setattr(os, "write", write_and_close)
    LineWriter(pipe.write).write("the last line")
    assert os.read(pipe.read, 100) == b"the last line\n"


def test_a_reader_that_stopped_costs_lines_and_stalls_nobody(pipe: Pipe) -> None:
    fcntl.fcntl(pipe.write, fcntl.F_SETPIPE_SZ, 4096)
    queued = QueuedWriter(LineWriter(pipe.write), capacity=10)
    queued.start()
    queued.start()
    for _ in range(200):
        queued.handle(record("x" * 1000))
    assert queued.dropped > 100
    queued.stop(timeout_seconds=0.05)
    got = b""
    while b"lines were dropped" not in got:
        got += os.read(pipe.read, 65536)
    assert b"log lines were dropped: stderr was not read" in got


def test_what_waits_is_written_before_the_end(pipe: Pipe) -> None:
    logs = Logs("INFO", "plain", threaded=True, fd=pipe.write)
    before = logging.getLogger().handlers[:]
    logs.start()
    for number in range(100):
        logging.getLogger("docket.test").info("line %d", number)
    logs.stop()
    logs.stop()
    assert logging.getLogger().handlers == before
    assert logs.dropped == 0
    assert os.read(pipe.read, 1 << 20).count(b"\n") == 100


def test_the_nursery_writes_without_a_thread(pipe: Pipe, capfd: pytest.CaptureFixture[str]) -> None:
    before = threading.active_count()
    logs = configure("WARNING", "plain", threaded=False)
    logging.getLogger("docket.test").warning("from the nursery")
    logging.getLogger("docket.test").info("below the level")
    assert threading.active_count() == before
    logs.stop()
    assert logs.dropped == 0
    last_line("the reason")
    err = capfd.readouterr().err
    assert "from the nursery" in err
    assert "below the level" not in err
    assert err.endswith("the reason\n")


@pytest.mark.parametrize("threaded", [True, False])
def test_a_message_that_cannot_be_formatted_is_reported_and_passed_over(
    pipe: Pipe, threaded: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = Logs("INFO", "plain", threaded=threaded, fd=pipe.write)
    logs.start()
    try:
        logging.getLogger("docket.test").info("%d apples", "many")
    finally:
        logs.stop()
    assert "Logging error" in capsys.readouterr().err
