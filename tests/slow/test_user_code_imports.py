"""What modules do while they are imported, and what becomes of it in the pool."""

import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.support.parameters import in_full, sets_in_full
from tests.support.supervised import ROOT, Program
from tests.support.user_code import copied, pool_in, producer, ready_pool_in

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

BOTH_WAYS = pytest.mark.parametrize("preload", ["--preload", "--no-preload"])

JOB = "import os\nasync def whoami():\n    return os.getpid()\ntasks = [whoami]\n"


def write(folder: Path, files: dict[str, str]) -> None:
    for name, source in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)


def lines_of(file: Path) -> list[str]:
    return file.read_text().split()


def names_like(folder: Path, pattern: str) -> list[str]:
    return [file.name for file in folder.glob(pattern)]


async def facts_of_both(program: Program) -> list[dict[str, Any]]:
    """One answer of each of two workers, which run one task at a time."""
    answers: dict[int, dict[str, Any]] = {}
    async with producer(program) as tasks:
        while len(answers) < 2:
            sent = [await tasks.add("facts") for _ in range(4)]
            for each in sent:
                facts = await each.result()
                answers[facts["pid"]] = facts
        for _ in range(4):
            await tasks.call("clean_up_at_exit")
    return list(answers.values())


@BOTH_WAYS
async def test_what_may_be_done_at_import_works_in_every_worker(
    tmp_path: Path, preload: str
) -> None:
    copied(tmp_path, "settled_jobs")
    write(tmp_path, {"more/only_here.py": "VALUE = 7\n"})
    arguments = ("--concurrency", "1", preload)
    with ready_pool_in(tmp_path, *arguments, tasks="settled_jobs:tasks") as program:
        workers, nursery = program.workers(), program.nursery_pid
        first, second = await facts_of_both(program)
        assert program.workers() == workers, "handlers of the import have ended nobody"
        assert program.end() == 0

    for mine, other in zip(first["own"][:3], second["own"][:3], strict=True):
        assert mine != other
    assert first["same"] == second["same"] == ["set up", 7, "yes", True]
    assert first["loop"].startswith("uvloop")
    assert first["subprocess"] == 0
    assert set(map(int, lines_of(tmp_path / "journal"))) == set(workers.values())
    with sqlite3.connect(tmp_path / "database") as database:
        assert database.execute("SELECT COUNT(DISTINCT pid) FROM seen").fetchone() == (2,)
    database.close()
    assert "from the worker" in (tmp_path / "user.log").read_text()

    # Who imported a module runs its exit handlers, and nobody else.
    importers = {nursery} if preload == "--preload" else set(workers.values())
    assert sorted(map(int, lines_of(tmp_path / "exits"))) == sorted(importers)
    # What tasks registered runs at the end of their worker.
    left = {int(name.removeprefix("left-")) for name in names_like(tmp_path, "left-*")}
    assert left
    assert left <= set(workers.values())
    assert names_like(tmp_path, "import-*") == names_like(tmp_path, "task-*") == []
    assert "Traceback" not in program.log


#: Of a sitecustomize, and the name that the warning has for what it leaves behind.
AGENTS = {
    "a running thread, 'reporter'": """
import threading
threading.Thread(target=threading.Event().wait, daemon=True, name="reporter").start()
""",
    "a running thread, 'a thread without a name'": """
import _thread, time
_thread.start_new_thread(time.sleep, (600,))
""",
    "an open connection": """
import socket
listening = socket.create_server(("127.0.0.1", 0))
connected = socket.create_connection(listening.getsockname())
""",
}


@pytest.mark.parametrize(
    ("named", "preload"),
    [
        *((named, "--preload") for named in AGENTS),
        ("an open connection", "--no-preload"),
        *sets_in_full(
            *((named, "--no-preload") for named in AGENTS if named != "an open connection")
        ),
    ],
)
def test_what_an_agent_starts_with_the_interpreter_is_in_no_worker_and_named(
    tmp_path: Path, named: str, preload: str
) -> None:
    write(tmp_path, {"jobs.py": JOB, "sitecustomize.py": AGENTS[named]})
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    arguments = ("--tasks", "jobs:tasks", "--url", "memory://", "--processes", "2", preload)
    with Program(arguments, environment, cwd=tmp_path) as program:
        program.wait_for("pool ready")
        assert program.end() == 0
    (warning,) = [line for line in program.lines if "the start of Python" in line]
    assert "WARNING" in warning
    assert named in warning
    assert "cannot be imported before forking" not in program.log


async def test_what_cannot_be_forked_is_named_and_imported_by_each_worker(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        source = (
            "import asyncio, socket, threading, uvloop\n"
            f"connection = socket.create_connection(({host!r}, {port}))\n"
            "threading.Thread(target=threading.Event().wait, daemon=True, name='poller').start()\n"
            "kept, faster = asyncio.new_event_loop(), uvloop.new_event_loop()\n" + JOB
        )
        write(tmp_path, {"jobs.py": source})
        with ready_pool_in(tmp_path) as program:
            warning = program.wait_for("cannot be imported before forking .*")[0]
            assert f"{host}:{port}" in warning
            assert "a running thread, 'poller'" in warning
            assert "a socket pair (an event loop made at import has one)" in warning
            assert warning.count("an event loop made at import (descriptor") == 2
            assert "each worker imports them" in warning
            async with producer(program) as tasks:
                assert await tasks.call("whoami") in program.workers().values()
            assert program.end() == 0


async def test_modules_are_found_wherever_a_user_may_have_them(tmp_path: Path) -> None:
    """The folder has neighbours with names of the library, which only their owner imports."""
    job = "async def {0}():\n    return __name__\n"
    trap = "raise RuntimeError('a file of the user that nobody asked for')\n"
    write(
        tmp_path,
        {
            "app/solo.py": job.format("solo") + "tasks = (f for f in [solo])\n",
            "app/shop/__init__.py": "",
            "app/shop/names.py": "NAME = 'shop'\n",
            "app/shop/jobs/__init__.py": "",
            "app/shop/jobs/all.py": "from . import one\ntasks = {one.shop}\n",
            "app/shop/jobs/one.py": "from ..names import NAME\n" + job.format("shop"),
            "app/spaced/out/jobs.py": job.format("spaced") + "tasks = {1: spaced}.values()\n",
            "src/kit/__init__.py": job.format("kit") + "tasks = [kit]\n",
            "app/queue.py": trap,
            "app/types.py": trap,
            "app/logging.py": trap,
            "app/random.py": trap,
        },
    )
    collections = ["shop.jobs.all:tasks", "spaced.out.jobs:tasks", "kit:tasks"]
    arguments = [word for each in collections for word in ("--tasks", each)]
    environment = {"PYTHONPATH": f"{ROOT}:{tmp_path}/src"}
    with ready_pool_in(
        tmp_path / "app", *arguments, tasks="solo:tasks", environment=environment
    ) as program:
        async with producer(program) as tasks:
            modules = {name: await tasks.call(name) for name in ("solo", "shop", "spaced", "kit")}
        assert program.end() == 0
    assert modules == {
        "solo": "solo",
        "shop": "shop.jobs.one",
        "spaced": "spaced.out.jobs",
        "kit": "kit",
    }


@pytest.mark.parametrize("name", ["docket", *in_full("ipc", "supervisor")])
def test_a_module_with_a_name_of_ours_is_3_and_says_to_rename_it(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"jobs.py": JOB, f"{name}.py": JOB})
    with pool_in(tmp_path, tasks=f"{name}:tasks") as program:
        assert program.code() == 3
    assert program.lines[-1] == (
        f"docket-supervisor: {tmp_path} has a module named {name!r}, which is also a package of "
        "docket-supervisor, so neither would find its own: rename it"
    )
    assert "Traceback" not in program.log


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise ValueError('no\\nsecret')", "ValueError: no secret"),
        ("import sys; sys.exit('I will not')", "SystemExit: I will not"),
        ("input()", "EOFError"),
        (
            "import os; os.kill(os.getpid(), 9)",
            "killed by SIGKILL while it imported the task modules",
        ),
        ("tasks = {'a': 1}", "holds 'a', which is not a function"),
        *sets_in_full(
            ("import sys; sys.exit()", "SystemExit"),
            ("raise KeyboardInterrupt", "KeyboardInterrupt"),
            ("import os; os._exit(3)", "exit status 3 while it imported the task modules"),
            ("def", "SyntaxError"),
            ("def tasks(): ...", "is a function, not iterable"),
            ("", "has no attribute 'tasks'"),
        ),
    ],
)
def test_an_import_that_does_not_work_out_is_3_with_its_reason_in_the_last_line(
    tmp_path: Path, source: str, reason: str
) -> None:
    write(tmp_path, {"jobs.py": source + "\n"})
    with pool_in(tmp_path, processes=1) as program:
        assert program.code() == 3
        assert program.family() == []
    assert reason in program.lines[-1]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import sys; sys.exit('I will not')", "SystemExit: I will not"),
        ("import os; os._exit(3)", "exit status 3"),
    ],
)
def test_without_preload_it_is_3_too(tmp_path: Path, source: str, reason: str) -> None:
    write(tmp_path, {"jobs.py": source + "\n"})
    arguments = ("--no-preload", "--boot-timeout", "5s", "--max-restarts", "3")
    with pool_in(tmp_path, *arguments, "--backoff-max", "0s", processes=1) as program:
        assert program.code() == 3
    assert reason in program.lines[-1]


async def test_an_import_that_says_a_lot_and_asks_is_none_the_worse(tmp_path: Path) -> None:
    source = (
        "import sys\n"
        "sys.stderr.write(('x' * 999 + '\\n') * 10_000)\n"
        "assert sys.stdin.read() == ''\n" + JOB
    )
    write(tmp_path, {"jobs.py": source})
    with ready_pool_in(tmp_path, processes=1) as program:
        async with producer(program) as tasks:
            assert await tasks.call("whoami") in program.workers().values()
        assert program.end() == 0
    assert program.lines.count("x" * 999) == 10_000


@pytest.mark.parametrize(
    ("empty", "preload"),
    [
        ("tasks = []", "--no-preload"),
        ("tasks = {}.values()", "--preload"),
        *sets_in_full(
            ("tasks = []", "--preload"),
            ("tasks = ()", "--preload"),
            ("tasks = ()", "--no-preload"),
            ("tasks = {}.values()", "--no-preload"),
        ),
    ],
)
def test_a_collection_without_a_task_is_warned_of_once(
    tmp_path: Path, empty: str, preload: str
) -> None:
    write(tmp_path, {"jobs.py": empty})
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    arguments = ("--tasks", "jobs:tasks", "--url", "memory://", "--processes", "2", preload)
    with Program(arguments, environment, cwd=tmp_path) as program:
        program.wait_for("pool ready")
        assert program.end() == 0
    (warning,) = [line for line in program.lines if "WARNING" in line]
    assert "no task is registered, since jobs:tasks is empty" in warning


def test_a_worker_that_the_system_gives_no_thread_says_so(tmp_path: Path) -> None:
    no_room = """
import threading
def start(self):
    raise RuntimeError("can't start new thread")
threading.Thread.start = start
"""
    write(tmp_path, {"jobs.py": no_room + JOB})
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    patience = ("--boot-timeout", "3s", "--max-restarts", "1", "--processes", "1")
    with Program(
        ("--tasks", "jobs:tasks", "--url", "memory://", *patience), environment, cwd=tmp_path
    ) as program:
        assert program.code() == 3
    assert "can't start new thread" in program.lines[-1]
    assert "is a limit of processes or threads reached?" in program.lines[-1]


def test_no_process_of_ours_leaves_anything_unclosed(tmp_path: Path) -> None:
    write(tmp_path, {"jobs.py": JOB})
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "PYTHONDEVMODE": "1"}
    arguments = ("--tasks", "jobs:tasks", "--url", "memory://", "--processes", "1")
    with Program(arguments, environment, cwd=tmp_path) as program:
        program.wait_for("pool ready")
        assert program.end() == 0
    assert "ResourceWarning" not in program.log
