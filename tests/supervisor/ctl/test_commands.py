"""The commands of ctl: arguments in, a request out, one line and an exit code back."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from ipc.control import PROTOCOL, ControlHello, Refused, Report
from ipc.framing import encode
from supervisor.cli import commands as program
from supervisor.control import paths
from supervisor.ctl import show_status
from supervisor.ctl.client import Client
from supervisor.pool.state import pool_commands
from supervisor.signals import SignalQueue
from tests.support.control import REPORT, served
from tests.support.fake_supervisor import scripted

pytestmark = pytest.mark.anyio

HELLO = encode(ControlHello(PROTOCOL, 1))


@dataclass(frozen=True)
class Ran:
    """The exit code and the output of a command."""

    code: int | str | None
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str, signal_queue: SignalQueue | None = None) -> Ran:
        with pytest.raises(SystemExit) as end:
            program.main(signal_queue or SignalQueue(), ["ctl", *words])
        written = capsys.readouterr()
        return Ran(end.value.code, written.out, written.err)

    return run


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path for --control; no other supervisor is to be found."""
    monkeypatch.setattr(paths, "TEMPORARY", tmp_path / "nowhere")
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "DOCKET_SUPERVISOR_CONTROL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "orders-1.sock"


async def run_in_thread(run: Run, *words: str) -> Ran:
    return await asyncio.to_thread(run, *words)


@pytest.mark.parametrize(
    ("words", "order"),
    [
        (["scale", "3"], pool_commands.Scale(3)),
        (["reload"], pool_commands.Reload()),
        (["restart", "2"], pool_commands.Restart(2)),
        (["dump"], pool_commands.DumpAll()),
        (["drain"], pool_commands.Drain()),
    ],
)
@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (pool_commands.Done("it is done"), Ran(0, "it is done\n", "")),
        (pool_commands.Refused("why not"), Ran(1, "", "docket-supervisor: why not\n")),
    ],
)
async def test_a_request_is_sent_and_its_outcome_printed(
    words: list[str],
    order: pool_commands.Command,
    outcome: pool_commands.Outcome,
    expected: Ran,
    path: Path,
    run: Run,
) -> None:
    async with served(path) as pool:
        asking = asyncio.create_task(run_in_thread(run, "--control", str(path), *words))
        assert await pool.answer_next(outcome) == order
        assert await asking == expected


async def test_a_reload_that_is_not_waited_for_returns_at_once(path: Path, run: Run) -> None:
    async with served(path) as pool:
        ran = await run_in_thread(run, "reload", "--no-wait", "--control", str(path))
        assert (await pool.next_command()).command == pool_commands.Reload()
    assert ran == Ran(0, "the reload has been asked for; see the status\n", "")


async def test_a_drain_that_is_waited_for_returns_when_the_pool_has_ended(
    path: Path, run: Run
) -> None:
    async with served(path, guest=True) as pool:
        asking = asyncio.create_task(run_in_thread(run, "--control", str(path), "drain", "--wait"))
        await pool.answer_next(pool_commands.Done("draining"))
    assert await asking == Ran(0, "draining\nthe supervisor has ended\n", "")


# The status.


async def test_the_status_is_a_table_for_people_and_json_for_programs(path: Path, run: Run) -> None:
    async with served(path):
        table = await run_in_thread(run, "--control", str(path), "status")
        as_json = await run_in_thread(run, "--control", str(path), "status", "--json")
    assert table.out.startswith("docket orders at\nrunning, 0 of 0 workers ready, ")
    assert as_json == Ran(0, json.dumps(REPORT) + "\n", "")


@pytest.mark.parametrize("report", ['{"a": "%s"}', "%s"])
def test_json_from_who_only_says_that_he_is_a_supervisor_writes_no_escapes(
    report: str, path: Path, run: Run
) -> None:
    evil = "\x1b]0;owned\x07\x9b2J\u202e\nforged\r"
    with scripted(path, HELLO + encode(Report(report % evil))):
        ran = run("--control", str(path), "status", "--json")
    assert ran.code == 0
    assert ran.out.removesuffix("\n").isprintable()
    assert r"\u001b]0;owned\u0007\u009b2J\u202e\nforged\r" in ran.out


@pytest.mark.parametrize("given", ["before", "after", "environment", "found"])
async def test_the_socket_may_be_named_before_or_after_the_command_or_not_at_all(
    given: str, path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["status", "--json"]
    match given:
        case "before":
            words = ["--control", str(path), *words]
        case "after":
            words += ["--control", str(path)]
        case "environment":
            monkeypatch.setenv("DOCKET_SUPERVISOR_CONTROL", str(path))
        case _:
            monkeypatch.setenv("XDG_RUNTIME_DIR", str(path.parent))
    async with served(path):
        assert (await run_in_thread(run, *words)).code == 0


async def test_of_several_supervisors_all_are_listed_and_none_is_used(
    path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path.parent))
    other = path.with_name("mails-2.sock")
    async with served(path), served(other):
        ran = await run_in_thread(run, "status")
    assert ran == Ran(
        2,
        "",
        f"  {other}\n  {path}\n"
        "docket-supervisor: 2 supervisors are running; name one with --control\n",
    )


def test_without_a_supervisor_it_ends_with_2_and_one_line(path: Path, run: Run) -> None:
    nowhere = run("status")
    assert nowhere.code == 2
    assert nowhere.err.startswith("docket-supervisor: no supervisor of this user is running (loo")
    assert nowhere.err.count("\n") == 1
    assert run("--control", str(path), "status") == Ran(
        2,
        "",
        f"docket-supervisor: no supervisor is running at {path}: there is no such socket\n",
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["scale", "0"], "N: got '0', expected a whole number from 1 to 1024, or a range"),
        (["scale", "-1"], "N: got '-1', expected a whole number from 1 to 1024, or a range"),
        (["scale", "many"], "N: got 'many', expected a whole number from 1 to 1024, or a range"),
        (["scale", "2:"], "N: got '2:', expected a whole number from 1 to 1024, or a range"),
        (["scale", "4:2"], "N: got '4:2', expected a whole number from 1 to 1024, or a range"),
        (["restart", "0"], "SLOT: got '0', expected a whole number from 1 to 1024"),
        (["restart", "-2"], "SLOT: got '-2', expected a whole number from 1 to 1024"),
        (["restart"], "Missing argument 'SLOT'"),
        (["stop"], "No such command 'stop'"),
        (["status", "--jsn"], "No such option"),
        (["--control", "x" * 200, "status"], "expected a path of at most"),
    ],
)
def test_wrong_arguments_end_with_2_and_one_line(
    words: list[str], why: str, path: Path, run: Run
) -> None:
    ran = run(*words)
    assert ran.code == 2
    assert why in ran.err
    assert ran.err.count("\n") == 1


def test_without_a_command_the_commands_are_listed_each_in_a_line_of_its_own(run: Run) -> None:
    ran = run()
    assert (ran.code, ran.out) == (2, "")
    listed = ran.err.partition("Commands:\n")[2]
    names = [line.split()[0] for line in listed.splitlines()]
    assert names == ["drain", "dump", "reload", "restart", "scale", "status"]
    assert "..." not in listed


# The status, repeated.


async def test_watching_appends_where_there_is_no_terminal_and_ends_with_the_supervisor(
    path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show_status, "WATCH_SECONDS", 0.01)
    shown = asyncio.Event()
    loop = asyncio.get_running_loop()
    real = show_status.status_view.render
    count = 0

    def render(*arguments: Any) -> list[Text]:
        nonlocal count
        count += 1
        if count == 3:
            loop.call_soon_threadsafe(shown.set)
        return real(*arguments)

    monkeypatch.setattr(show_status.status_view, "render", render)
    async with served(path):
        watching = asyncio.create_task(
            run_in_thread(run, "--control", str(path), "status", "--watch")
        )
        await asyncio.wait_for(shown.wait(), 20)
    ran = await watching
    assert (ran.code, ran.err) == (0, "the supervisor has ended\n")
    assert ran.out.count("docket orders at") == count
    assert ran.out.endswith("nothing is running\n\n")
    assert "\x1b" not in ran.out


def test_watching_as_json_is_one_object_a_line(path: Path, run: Run) -> None:
    with scripted(path, HELLO + encode(Report('{"one": 1}'))):
        ran = run("--control", str(path), "status", "--watch", "--json")
    assert ran.out.splitlines()[0] == '{"one": 1}'


def test_watching_connects_again_if_it_was_disconnected_while_idle(path: Path, run: Run) -> None:
    first, second = (HELLO + encode(Report(f'{{"n": {n}}}')) for n in (1, 2))
    with scripted(path, first, second):
        ran = run("--control", str(path), "status", "--watch", "--json")
    assert ran == Ran(0, '{"n": 1}\n{"n": 2}\n', "the supervisor has ended\n")


def test_watching_ends_with_a_supervisor_that_dies_while_it_is_connected_to_again(
    path: Path, run: Run
) -> None:
    with scripted(path, HELLO + encode(Report("{}")), b""):
        ran = run("--control", str(path), "status", "--watch", "--json")
    assert ran == Ran(0, "{}\n", "the supervisor has ended\n")


def test_watching_without_a_supervisor_ends_with_2(path: Path, run: Run) -> None:
    assert run("--control", str(path), "status", "--watch").code == 2


def test_watching_is_refused_with_1(path: Path, run: Run) -> None:
    with scripted(path, HELLO + encode(Refused("too many"))):
        ran = run("--control", str(path), "status", "--watch")
    assert ran == Ran(1, "", "docket-supervisor: too many\n")


# Ctrl-C.


def interrupt(*_arguments: object, **_named: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("on_terminal", [True, False])
async def test_ctrl_c_ends_watching_with_0(
    on_terminal: bool, path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "is_over_within", interrupt)
    async with served(path):
        patch_isatty(monkeypatch, on_terminal)
        ran = await run_in_thread(run, "--control", str(path), "status", "--watch")
    assert (ran.code, ran.err) == (0, "\n" if on_terminal else "")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["reload"], "the reload"),
        (["restart", "1"], "the restart"),
        (["drain", "--wait"], "the drain"),
    ],
)
async def test_ctrl_c_ends_waiting_with_1_and_says_that_the_operation_goes_on(
    words: list[str], what: str, path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "ask", interrupt)
    async with served(path):
        patch_isatty(monkeypatch, True)
        ran = await run_in_thread(run, "--control", str(path), *words)
    assert ran == Ran(
        1,
        "",
        f"waiting; Ctrl-C ends the waiting, and {what} goes on\n"
        f"docket-supervisor: interrupted; {what} goes on\n",
    )


def patch_isatty(monkeypatch: pytest.MonkeyPatch, value: bool) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: value, raising=False)


@pytest.mark.parametrize(("number", "ends"), [(signal.SIGINT, True), (signal.SIGUSR1, False)])
def test_a_signal_received_during_the_imports_is_not_lost(
    number: int, ends: bool, path: Path, run: Run
) -> None:
    before = signal.getsignal(number)
    signal_queue = SignalQueue()
    signal_queue.install()
    os.kill(os.getpid(), number)
    ran = run("--control", str(path), "status", signal_queue=signal_queue)
    assert ("interrupted" in ran.err) is ends
    assert signal.getsignal(number) == before
