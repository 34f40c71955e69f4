"""How the program ends: its code, and the reason as the last line on stderr."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from tests.support.parameters import in_full, sets_in_full
from tests.support.pool_tasks import tasks
from tests.support.supervised import ROOT, Program, ready_pool, supervised

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


def write(folder: Path, name: str, source: str) -> dict[str, str]:
    """A module of a user, and the environment in which it is found."""
    (folder / f"{name}.py").write_text(source)
    return {"PYTHONPATH": f"{ROOT}:{folder}"}


def last_line(program: Program) -> str:
    return program.lines[-1]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--speed", "9"), "No such option"),
        (
            ("--processes", "many"),
            "--processes: got 'many', expected a whole number from 1 to 1024, or a range",
        ),
        (
            ("--url", "redis://:secret@host/orders"),
            "--url: got 'redis://:***@host/orders', expected the number of a database",
        ),
        (("--config", "/nowhere.toml"), "--config: cannot read /nowhere.toml"),
        (("mend",), "No such command 'mend'"),
        *sets_in_full(
            (("--processes", "0"), "--processes: got 0, expected a whole number from 1 to 1024"),
            (("--url", "http://:secret@host"), "--url: got 'http://:***@host', expected a URL of"),
            (("--tasks", "shop"), "--tasks: got 'shop', expected module:attribute"),
            (("--docket", "a{b}"), "--docket: got 'a{b}', expected a name"),
            (("--drain-timeout", "soon"), "--drain-timeout: got 'soon', expected a duration"),
            (("--http", "9090"), "--http: got '9090', expected HOST:PORT"),
        ),
    ],
)
def test_wrong_usage_is_one_line_and_2(arguments: tuple[str, ...], reason: str) -> None:
    with Program(arguments) as program:
        assert program.code() == 2
    assert len(program.lines) == 1
    assert program.lines[0].startswith(f"docket-supervisor: {reason}")
    assert "secret" not in program.log


def ended_in(directory: bytes, *arguments: bytes, gone: bool = False) -> tuple[int, str]:
    """The exit code of a run in this directory, and its last line."""
    remove = b'rmdir "$PWD"; ' if gone else b""
    command = [b"sh", b"-c", remove + b'exec "$@"', b"sh", *arguments]
    ended = subprocess.run(
        command,
        check=False,
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    return ended.returncode, ended.stderr.decode().splitlines()[-1]


PROGRAM = (os.fsencode(sys.executable), b"-m", b"supervisor.cli", b"--url", b"memory://")


def test_a_directory_whose_name_is_no_utf8_is_named_and_2(tmp_path: Path) -> None:
    directory = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(directory)  # noqa: PTH102 - of bytes
    code, line = ended_in(directory, *PROGRAM)
    assert code == 2
    assert line.startswith("docket-supervisor: the working directory ")
    assert line.endswith("caf\\udce9' is not in UTF-8")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        (b"--docket", b"caf\xe9"),
        (b"--url", b"embedded:///caf\xe9"),
        *sets_in_full(
            (b"--url", b"redis://caf\xe9"),
            (b"--tasks", b"caf\xe9:tasks"),
            (b"--http", b"caf\xe9:80"),
        ),
    ],
)
def test_a_value_that_is_no_utf8_is_named_and_2(
    tmp_path: Path, option: bytes, value: bytes
) -> None:
    code, line = ended_in(os.fsencode(tmp_path), *PROGRAM, option, value)
    assert code == 2
    assert line.startswith(f"docket-supervisor: {option.decode()}: got ")
    assert line.endswith("expected text in UTF-8")


@pytest.mark.parametrize(
    ("command", "start"),
    [
        (PROGRAM, "docket-supervisor: the working directory cannot be used"),
        ((*PROGRAM, b"--control", b"x.sock"), "docket-supervisor: "),
        ((PROGRAM[0], b"-m", b"docket", b"worker"), "Error: the working directory cannot be"),
    ],
)
def test_a_directory_that_is_gone_is_told_and_2(
    tmp_path: Path, command: tuple[bytes, ...], start: str
) -> None:
    folder = tmp_path / "released"
    folder.mkdir()
    code, line = ended_in(os.fsencode(folder), *command, gone=True)
    assert code == 2
    assert line.startswith(start)


@pytest.mark.parametrize("variable", ["PWD", *in_full("XDG_RUNTIME_DIR", "RUNTIME_DIRECTORY")])
def test_a_path_of_the_environment_that_cannot_be_looked_at_does_no_harm(variable: str) -> None:
    with supervised(processes=1, environment={variable: "/" + "x" * 5000}) as program:
        program.wait_for("pool ready")
        assert program.end() == 0


def test_a_value_of_the_environment_is_told_by_its_variable() -> None:
    environment = {"DOCKET_SUPERVISOR_CONCURRENCY": "lots"}
    with Program((), environment) as program:
        assert program.code() == 2
    (line,) = program.lines
    assert line == (
        "docket-supervisor: DOCKET_SUPERVISOR_CONCURRENCY: got 'lots', "
        "expected a whole number from 1 to 1000000"
    )


def test_a_port_in_use_is_3_and_leaves_nothing_running() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = ("--url", "memory://", "--http", f"127.0.0.1:{port}")
        with Program(arguments) as program:
            assert program.code() == 3
            assert program.family() == []
    assert f"--http: cannot listen on 127.0.0.1:{port}" in last_line(program)


def test_an_address_that_this_host_does_not_have_is_2() -> None:
    with Program(("--url", "memory://", "--http", "192.0.2.1:9090")) as program:
        assert program.code() == 2
    assert "--http: cannot listen on 192.0.2.1:9090" in last_line(program)


def test_an_embedded_folder_of_another_owner_is_3(tmp_path: Path) -> None:
    url = f"embedded://{tmp_path}/data"
    with ready_pool(url=url) as owner, supervised(url=url) as second:
        assert second.code() == 3
        assert "its folder is owned by the server of" in last_line(second)
        assert owner.end() == 0


def test_a_task_module_that_does_not_import_is_3(tmp_path: Path) -> None:
    environment = write(tmp_path, "broken_shop", "import no_such_thing\n")
    arguments = ("--tasks", "broken_shop:tasks", "--url", "memory://")
    with Program(arguments, environment) as program:
        assert program.code() == 3
    assert "no_such_thing" in last_line(program)


@pytest.mark.parametrize("preload", ["--preload", "--no-preload"])
def test_a_collection_that_is_not_there_is_3(tmp_path: Path, preload: str) -> None:
    environment = write(tmp_path, "small_shop", "tasks = []\n")
    arguments = ("--tasks", "small_shop:missing", "--url", "memory://", "--boot-timeout", "2s")
    with Program((*arguments, preload), environment) as program:
        assert program.code() == 3
    assert "missing" in last_line(program)


@pytest.mark.parametrize("preload", ["--preload", "--no-preload"])
def test_a_collection_that_is_none_is_3_at_once(tmp_path: Path, preload: str) -> None:
    environment = write(tmp_path, "odd_shop", "tasks = 5\n")
    arguments = ("--tasks", "odd_shop:tasks", "--url", "memory://", "--processes", "1")
    with Program((*arguments, preload), environment) as program:
        assert program.code() == 3
        assert program.log.count("Traceback") <= 1
    assert "not iterable" in last_line(program)


def test_a_server_that_cannot_be_reached_at_the_start_is_3() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    arguments = ("--url", f"redis://127.0.0.1:{port}/0", "--boot-timeout", "2s")
    with Program((*arguments, "--processes", "1")) as program:
        assert program.code() == 3
    assert "no worker was ready within 2.0 s" in last_line(program)
    assert f"127.0.0.1:{port}" in last_line(program)


def test_code_that_cannot_be_forked_is_imported_by_each_worker(tmp_path: Path) -> None:
    source = (
        "import threading\n"
        "threading.Thread(target=threading.Event().wait, daemon=True, name='poller').start()\n"
        "tasks = []\n"
    )
    environment = write(tmp_path, "threaded_shop", source)
    arguments = ("--tasks", "threaded_shop:tasks", "--url", "memory://", "--processes", "1")
    with Program(arguments, environment) as program:
        program.wait_for("cannot be imported before forking .*poller")
        program.wait_for("pool ready: 1 of 1")
        assert program.end() == 0


async def test_a_pool_that_cannot_be_kept_alive_gives_up_with_4() -> None:
    arguments = ("--max-restarts", "2", "--max-deliveries", "100", "--backoff-max", "0s")
    with ready_pool(*arguments, processes=1) as program:
        async with program.docket(tasks) as docket:
            await docket.add("die")()
            assert program.code() == 4
    assert "more than 2 restarts in 1m00s" in last_line(program)
    assert "killed by SIGKILL" in last_line(program)


def test_a_hangup_that_nohup_ignores_does_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ready_pool(processes=1) as program:
            program.send(signal.SIGHUP)
            assert program.get("/livez")[0] == 200
            assert program.end() == 0
            assert "SIGHUP" not in program.log
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_stop_before_the_pool_stands_is_a_clean_one() -> None:
    with supervised() as program:
        program.wait_for("starting 2 workers")
        assert program.end() == 0


def test_json_lines_are_json_and_nothing_else() -> None:
    with ready_pool("--logging-format", "json", processes=1) as program:
        assert program.end() == 0
    assert all(json.loads(line)["message"] for line in program.lines)


def test_a_program_without_standard_streams_runs_and_ends_as_any_other() -> None:
    command = f"{sys.executable} -m supervisor.cli --processes 1 --url memory:// --http 127.0.0.1:0"
    closed = f"exec {command} <&- >&- 2>&-"
    with subprocess.Popen(["/bin/sh", "-c", closed], cwd=ROOT) as program:
        family = psutil.Process(program.pid)
        grown = threading.Event()
        while len(family.children(recursive=True)) < 2:  # a nursery and a worker
            assert program.poll() is None
            grown.wait(0.05)
        program.send_signal(signal.SIGTERM)
        assert program.wait(30) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, *in_full(signal.SIGINT, signal.SIGUSR1)])
def test_signals_up_to_its_last_moment_do_not_change_how_it_ends(number: signal.Signals) -> None:
    with ready_pool(processes=1) as program:
        program.send(signal.SIGTERM)
        program.wait_for("draining")
        while program.process.poll() is None:
            program.send(number)
        assert program.code() == 0
