"""The logging of a process: handlers, loggers and streams from its start to its stop."""
# ruff: noqa: T201 - prints are tested

import contextlib
import fcntl
import io
import json
import logging
import logging.config
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.logging import RichHandler

from supervisor.logs import log_setup
from supervisor.logs.formats import LogContext
from supervisor.logs.log_setup import Logs, chosen_format, configure
from tests.support.processes import Pipe, fork

WORKER = LogContext("worker 3", 3)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe(*os.pipe())
    yield made
    made.close()


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, whose handlers and level are restored afterwards."""
    found = logging.getLogger()
    handlers, level = found.handlers[:], found.level
    yield found
    found.handlers[:] = handlers
    found.setLevel(level)


@contextlib.contextmanager
def logging_to(
    pipe: Pipe, logging_format: str = "plain", *, threaded: bool = True, capture: bool = False
) -> Iterator[Logs]:
    made = Logs(
        "INFO",
        logging_format,
        threaded=threaded,
        log_context=WORKER,
        runs_user_code=capture,
        fd=pipe.write,
    )
    made.start()
    try:
        yield made
    finally:
        made.stop()


def as_worker(
    pipe: Pipe,
    work: Callable[[], None],
    logging_format: str = "plain",
    *,
    stdout: Path | None = None,
) -> str:
    """The output of a process that logs as a worker does while it works."""
    if (pid := fork()) == 0:
        into = pipe.write if stdout is None else os.open(stdout, os.O_WRONLY | os.O_CREAT)
        os.dup2(into, 1)
        os.dup2(pipe.write, 2)
        threading.excepthook = threading.__excepthook__  # pytest has one of its own
        made = Logs("INFO", logging_format, threaded=True, log_context=WORKER, runs_user_code=True)
        made.start()
        try:
            work()
        finally:
            made.stop()
            os._exit(0)
    pipe.close_write()
    with os.fdopen(os.dup(pipe.read), "rb") as stream:
        written = stream.read().decode()
    os.waitpid(pid, 0)
    return written


def test_the_format_follows_stderr_unless_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda fd: True)
    assert chosen_format(None) == "rich"
    assert chosen_format("json") == "json"
    monkeypatch.setattr(os, "isatty", lambda fd: False)
    assert chosen_format(None) == "plain"


def test_queued_lines_are_written_before_the_end(pipe: Pipe) -> None:
    before = logging.getLogger().handlers[:]
    with logging_to(pipe) as made:
        for number in range(100):
            logging.getLogger("docket.test").info("line %d", number)
    made.stop()
    assert logging.getLogger().handlers == before
    assert made.dropped == 0
    written = os.read(pipe.read, 1 << 20).decode()
    assert written.count("\n") == 100
    assert "[worker 3] docket.test: line 99\n" in written


def test_the_nursery_writes_without_a_thread(pipe: Pipe, capfd: pytest.CaptureFixture[str]) -> None:
    before = threading.active_count()
    made = configure("WARNING", "plain", threaded=False)
    logging.getLogger("docket.test").warning("from the nursery")
    logging.getLogger("docket.test").info("below the level")
    assert threading.active_count() == before
    made.stop()
    assert log_setup.dropped_lines() == 0
    made.last_line("the reason")
    err = capfd.readouterr().err
    assert "from the nursery" in err
    assert "below the level" not in err
    assert err.endswith("\nthe reason\n")


def test_the_last_line_is_a_record_where_lines_are_json(pipe: Pipe) -> None:
    with logging_to(pipe, "json") as made:
        pass
    made.last_line("docket-supervisor: it gave up")
    line = json.loads(os.read(pipe.read, 1000))
    assert (line["level"], line["message"]) == ("CRITICAL", "docket-supervisor: it gave up")


def test_a_last_line_that_is_not_read_delays_the_end_for_a_moment_only(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl.fcntl(pipe.write, fcntl.F_SETPIPE_SZ, 4096)
    os.write(pipe.write, b"x" * 4096)
    monkeypatch.setattr(log_setup, "FLUSH_SECONDS", 0.05)
    with logging_to(pipe) as made:
        pass
    made.last_line("the reason")
    os.read(pipe.read, 4096)
    assert os.read(pipe.read, 100) == b"the reason\n"


def test_lost_lines_are_reported_in_the_format_of_the_others_and_counted_for_the_process(
    pipe: Pipe,
) -> None:
    fcntl.fcntl(pipe.write, fcntl.F_SETPIPE_SZ, 4096)
    read: list[dict[str, Any]] = []

    def read_all() -> None:
        with os.fdopen(os.dup(pipe.read), "rb") as stream:
            read.extend(json.loads(line) for line in stream)

    with logging_to(pipe, "json") as made:
        for _ in range(11_000):
            logging.getLogger("docket.test").info("x" * 1000)
        assert log_setup.dropped_lines() == made.dropped > 0
        reader = threading.Thread(target=read_all)
        reader.start()
    pipe.close_write()
    reader.join(10)
    notices = [line for line in read if line["message"].endswith("stderr was not read")]
    assert sum(int(line["message"].split()[0]) for line in notices) == made.dropped
    assert len(read) == 11_000 - made.dropped + len(notices)
    assert {line["worker"] for line in read} == {3}


def test_handlers_to_files_and_services_stay_beside_ours(
    pipe: Pipe, root: logging.Logger, tmp_path: Path
) -> None:
    to_file = logging.FileHandler(tmp_path / "log")
    to_service = logging.NullHandler()
    root.handlers[:] = [to_file, to_service]
    with logging_to(pipe):
        logging.getLogger("orders").info("shipped")
    to_file.close()
    assert os.read(pipe.read, 1000).endswith(b"orders: shipped\n")
    assert (tmp_path / "log").read_text() == "shipped\n"
    assert root.handlers == [to_file, to_service]


def test_handlers_to_stdout_and_stderr_are_removed_since_lines_would_come_twice(
    pipe: Pipe, root: logging.Logger
) -> None:
    with os.fdopen(os.dup(2), "w") as other, Path(os.devnull).open("w") as elsewhere:
        on_two = io.TextIOWrapper(io.FileIO(2, "w", closefd=False))
        root.handlers[:] = [
            logging.StreamHandler(),
            logging.StreamHandler(sys.stdout),
            logging.StreamHandler(on_two),
            RichHandler(console=Console(stderr=True)),
            logging.StreamHandler(io.StringIO()),
            logging.StreamHandler(elsewhere),
            logging.StreamHandler(other),
        ]
        last_three = root.handlers[-3:]
        with logging_to(pipe):
            assert root.handlers[1:] == last_three


def test_the_logging_that_a_module_configures_at_its_import_is_corrected_by_reapply(
    pipe: Pipe, root: logging.Logger, tmp_path: Path
) -> None:
    ours = logging.getLogger("docket.test")
    with logging_to(pipe) as made:
        logging.config.dictConfig(
            {
                "version": 1,
                "handlers": {
                    "screen": {"class": "logging.StreamHandler"},
                    "file": {"class": "logging.FileHandler", "filename": str(tmp_path / "log")},
                },
                "loggers": {"orders": {"level": "ERROR"}},
                "root": {"level": "ERROR", "handlers": ["screen", "file"]},
            }
        )
        assert ours.disabled
        made.reapply()
        ours.info("ours")
        logging.getLogger("orders").info("below the level of its own")
        logging.getLogger("orders").error("theirs")
        logging.getLogger("basket").info("any other")
        root.handlers[1].close()
    lines = os.read(pipe.read, 1 << 16).decode().splitlines()
    assert [line.partition("] ")[2] for line in lines] == [
        "docket.test: ours",
        "orders: theirs",
        "basket: any other",
    ]
    assert (tmp_path / "log").read_text().splitlines() == ["ours", "theirs", "any other"]


def test_prints_and_warnings_and_failed_threads_are_whole_lines_of_the_process(pipe: Pipe) -> None:
    def work() -> None:
        print("on stdout")
        print("on", "stderr", file=sys.stderr)
        print("without an end", end="", file=sys.stderr)
        warnings.warn("be careful", stacklevel=1)
        thread = threading.Thread(target=lambda: 1 / 0, name="t-1")
        thread.start()
        thread.join()
        ends = threading.Thread(target=sys.exit)
        ends.start()
        ends.join()

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        written = as_worker(pipe, work)
    lines = written.splitlines()
    assert lines[:2] == ["on stdout", "on stderr"]
    assert "UserWarning: be careful" in written
    assert "WARNING [worker 3] py.warnings: " in written
    assert "ERROR [worker 3] threading: Thread 't-1' ended by an exception" in written
    assert "ZeroDivisionError" in written
    assert "SystemExit" not in written
    assert lines[-1] == "without an end"


def test_prints_to_a_stream_of_json_become_json(pipe: Pipe) -> None:
    def work() -> None:
        print("on stderr", file=sys.stderr)
        print('{"structured": true}', file=sys.stderr)
        print("on stdout")

    lines = as_worker(pipe, work, "json").splitlines()
    line = json.loads(lines[0])
    assert (line["logger"], line["message"], line["worker"]) == ("stderr", "on stderr", 3)
    assert lines[1] == '{"structured": true}'
    line = json.loads(lines[2])  # stdout is the same pipe here
    assert (line["logger"], line["message"], line["worker"]) == ("stdout", "on stdout", 3)


@pytest.mark.parametrize(
    "write",
    [
        lambda: print("50%...", end=""),
        lambda: print("50%...", end="", flush=True),
        lambda: print("50%...", end="", file=sys.stderr),
        lambda: sys.stderr.write("50%...\r"),
        lambda: sys.stdout.buffer.write(b"50%...\xff"),
    ],
)
def test_what_has_no_end_becomes_a_record_of_its_own_in_json(
    pipe: Pipe, write: Callable[[], object]
) -> None:
    def work() -> None:
        write()
        logging.getLogger("docket.test").info("logged")

    records = [json.loads(line) for line in as_worker(pipe, work, "json").splitlines()]
    assert [each["message"][:6] for each in records] == ["logged", "50%..."]


def test_prints_to_a_stdout_of_its_own_stay_as_they_are(pipe: Pipe, tmp_path: Path) -> None:
    elsewhere = tmp_path / "stdout"

    def work() -> None:
        print("on stdout", end="")

    assert as_worker(pipe, work, "json", stdout=elsewhere) == ""
    assert elsewhere.read_text() == "on stdout"


def test_a_process_whose_user_code_closes_its_streams_goes_on_to_log(pipe: Pipe) -> None:
    def work() -> None:
        os.close(1)
        os.close(2)
        print("printed")
        logging.getLogger("docket.test").info("logged")

    lines = as_worker(pipe, work).splitlines()
    assert lines[0] == "printed"
    assert lines[1].endswith("docket.test: logged")


def test_a_process_without_streams_logs_nowhere(pipe: Pipe) -> None:
    if (pid := fork()) == 0:
        os.close(1)
        os.close(2)
        made = Logs("INFO", "plain", threaded=True, runs_user_code=True)
        made.start()
        logging.getLogger("docket.test").info("logged")
        made.stop()
        os._exit(made.dropped)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def test_the_streams_are_restored(pipe: Pipe) -> None:
    before = (sys.stdout, sys.stderr, threading.excepthook)
    with logging_to(pipe, threaded=False, capture=True):
        assert sys.stderr is not before[1]
        assert sys.stderr.fileno() == 2
        print("printed by the test", file=sys.stderr)
    assert (sys.stdout, sys.stderr, threading.excepthook) == before
    assert os.read(pipe.read, 100) == b"printed by the test\n"


def test_a_fork_keeps_the_streams_of_its_parent_and_redirects_them_to_its_own_writer(
    pipe: Pipe,
) -> None:
    def work() -> None:
        held_at_import, hook_at_import = sys.stderr, print
        threading.excepthook = hook_at_import
        made = Logs("INFO", "json", threaded=True, log_context=WORKER, runs_user_code=True)
        made.start()
        print("through the stream held", file=held_at_import)
        assert sys.stderr is held_at_import
        assert threading.excepthook is hook_at_import
        made.stop()
        print("after the end", file=sys.stderr)

    lines = as_worker(pipe, work).splitlines()
    assert [json.loads(line)["message"] for line in lines] == [
        "through the stream held",
        "after the end",
    ]


def test_user_code_may_close_its_streams_or_do_without_them(pipe: Pipe) -> None:
    def work() -> None:
        print("printed")
        sys.stdout.close()
        sys.stderr = None  # type: ignore[assignment]
        logging.getLogger("docket.test").info("logged")

    lines = as_worker(pipe, work).splitlines()
    assert lines[0] == "printed"
    assert lines[1].endswith("docket.test: logged")
