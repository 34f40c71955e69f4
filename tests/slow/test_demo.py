import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.demonstrations import (
    ROOT,
    demonstrate,
    demonstrate_on_a_terminal,
    demonstration,
    kill_server,
)
from tests.support.parameters import in_full

pytestmark = pytest.mark.timeout(240)

INTERRUPTED_AT_ONCE = """
import os, signal
from supervisor.signals import SignalQueue
install = SignalQueue.install
def then_interrupt(queue):
    install(queue)
    os.kill(os.getpid(), signal.SIGINT)
SignalQueue.install = then_interrupt
"""
REDELIVERED = "from the kill to the first redelivered start"


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Files that keep two workers busy for some seconds."""
    source = "".join(f"def f{n}(a, b):\n    return [a + b, {{a: b}}, a[b]]\n" for n in range(1000))
    for number in range(60):
        (tmp_path / f"m{number:03}.py").write_text(source)
    return tmp_path


@pytest.mark.full  # the next one has less to parse, and the same kill
@pytest.mark.long
def test_the_standard_library_is_parsed_although_a_worker_is_killed() -> None:
    run = demonstrate()
    assert (run.code, run.err, run.left) == (0, "", [])
    rows = ("files", "parsed", "not valid Python, as expected", "failed")
    files, parsed, not_python, failed = (number(run.table[name]) for name in rows)
    assert files == parsed + not_python + failed
    assert failed == 0
    assert files > 500
    assert run.table["workers killed"] == "1"
    assert "workers that died by themselves" not in run.table
    killed = re.search(r"halfway: kill -9 (\d+) \(worker (\d), in the middle of", run.out)
    assert killed is not None
    died = f"worker {killed[2]} (pid {killed[1]}) died: killed by SIGKILL; replaced at once"
    assert died in run.out
    assert f"worker {killed[2]} is back, pid " in run.out
    assert 1 <= number(run.table["tasks redelivered"]) <= 4
    assert run.table[REDELIVERED].endswith(" ms")
    assert run.out.endswith("every file is accounted for exactly once\n")


def test_with_a_task_at_a_time_one_is_redelivered(many: Path) -> None:
    run = demonstrate(str(many), "--concurrency", "1")
    assert (run.code, run.left) == (0, [])
    assert run.table["parsed"] == "60"
    assert run.table["tasks redelivered"] == "1"


def test_ctrl_c_ends_it_at_once_and_leaves_nothing(many: Path) -> None:
    run = demonstrate_on_a_terminal(str(many), interrupt_at="/60")
    assert (run.code, run.left) == (130, [])
    assert "interrupted" in run.out
    assert "lost" not in run.out


@pytest.mark.parametrize("number", [signal.SIGTERM, *in_full(signal.SIGHUP)])
def test_a_signal_ends_it_with_its_number(many: Path, number: signal.Signals) -> None:
    with demonstration(str(many)) as run:
        run.wait_for("workers on an embedded Valkey")
        run.process.send_signal(number)
        ended = run.ended()
    assert (ended.code, ended.err, ended.left) == (128 + number, "", [])


def test_a_second_signal_requeues_at_once_and_ends_it_the_same_way(many: Path) -> None:
    with demonstration(str(many)) as run:
        run.wait_for("workers on an embedded Valkey")
        run.process.send_signal(signal.SIGTERM)
        run.process.send_signal(signal.SIGHUP)
        ended = run.ended()
    assert ended.code in {128 + signal.SIGTERM, 128 + signal.SIGHUP}
    assert (ended.err, ended.left) == ("", [])


def test_a_signal_in_the_first_moment_ends_it_too(many: Path) -> None:
    run = demonstrate(str(many), first=INTERRUPTED_AT_ONCE)
    assert (run.code, run.left) == (130, [])


def test_a_reader_that_goes_away_ends_it_quietly(many: Path) -> None:
    with demonstration(str(many)) as run:
        assert run.process.stdout is not None
        run.wait_for("workers on an embedded Valkey")
        run.process.stdout.close()
        assert run.process.stderr is not None
        assert run.process.stderr.read() == ""
        assert run.process.wait(60) == 128 + signal.SIGPIPE
        assert run.left() == []


def test_a_kill_of_the_demo_itself_leaves_nothing_running(many: Path) -> None:
    with demonstration(str(many)) as run:
        run.wait_for("workers on an embedded Valkey")
        run.process.kill()
        ended = run.ended()
    assert (ended.code, ended.left) == (-signal.SIGKILL, [])


def test_a_server_that_is_killed_ends_the_demo_with_the_reason(many: Path) -> None:
    with demonstration(str(many)) as run:
        run.wait_for("workers on an embedded Valkey")
        kill_server(run)
        ended = run.ended()
    assert (ended.code, ended.left) == (4, [])
    reason = "the embedded server ended by itself; memory:// keeps no log"
    assert ended.err == f"docket-supervisor: {reason}\n"


def test_it_needs_no_standard_stream_to_be_open(many: Path) -> None:
    closing = "import os; [os.close(fd) for fd in (0, 1, 2)]"
    command = f"{closing}; os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])"
    started = [sys.executable, "-c", f"import sys; {command}"]
    program = ["-m", "supervisor.cli", "demo", str(many / "m000.py")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run([*started, *program], env=environment, timeout=60, check=False)
    assert run.returncode == 0


def number(shown: str) -> int:
    return int(shown.replace(",", ""))
