"""The comparison with other task queues: its peers, turns, measurements, table and command."""

import ast
import contextlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from rich.progress import Progress

from stress.bench.cli import bench
from stress.bench.peers import comparison, traces
from stress.bench.peers.arena import Arena, arena
from stress.bench.peers.catalogue import LIBRARY, PEERS, Peer
from stress.bench.peers.cli import Plan, compare, peers
from stress.bench.peers.comparison import Course
from stress.bench.peers.contestant import AdapterFailed, Contestant
from stress.bench.peers.environments import (
    ADAPTERS,
    AdapterProgram,
    NotInstalled,
    environment_of,
    find_python,
)
from stress.bench.peers.measurements import MEASUREMENTS, Measurement, Sizes, after_kill
from stress.bench.peers.table import Comparison, Row
from stress.bench.peers.traces import Fate
from stress.processes import lives
from stress.program import ROOT
from stress.waiting import eventually

FORGETFUL = Peer("forgetful", "forgetful_adapter.py", ("forgetful==1.0",), backlog=200)
SMALL = Sizes(scale=0.01, idle_seconds=1.0, kill_seconds=2.0)
BY_NAME = {each.name: each for each in MEASUREMENTS}

#: Each step of a measurement is a new process, whose start takes long on a busy machine.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240), pytest.mark.usefixtures("unmeasured")]


def _forgetful() -> AdapterProgram:
    path = os.pathsep.join((str(ADAPTERS), str(ROOT)))
    adapter = str(ROOT / "tests/support/forgetful_adapter.py")
    return AdapterProgram((sys.executable, adapter), {"PYTHONPATH": path})


@pytest.fixture
def with_forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the forgetful peer installed."""

    def found(peer: Peer, cache: Path, interpreters: Sequence[str]) -> AdapterProgram:
        return _forgetful() if peer is FORGETFUL else environment_of(peer, cache, interpreters)

    monkeypatch.setattr(comparison, "environment_of", found)


async def _compare(tmp_path: Path, columns: Sequence[Peer], *measurements: str) -> Comparison:
    chosen = [BY_NAME[each] for each in measurements]
    plan = Plan(columns, chosen, 1, SMALL, tmp_path, ())
    return await compare(plan, Progress(disable=True))


# -- the catalogue


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_has_pinned_requirements_and_an_adapter(peer: Peer) -> None:
    assert (ADAPTERS / peer.adapter).is_file()
    pinned = r"[a-z-]+@[0-9.]+" if peer.npm else r"[a-z-]+(\[[a-z,]+\])?==[0-9.]+"
    assert all(re.fullmatch(pinned, each) for each in peer.requirements)
    assert peer.absent.keys() <= BY_NAME.keys()


def test_ours_are_the_only_columns_without_an_environment() -> None:
    assert [peer.name for peer in PEERS if peer.is_ours] == ["library", "supervised"]


@pytest.mark.parametrize("path", sorted(ADAPTERS.glob("*.py")), ids=lambda path: path.stem)
def test_an_adapter_imports_nothing_of_ours(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    modules = {each.module for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)}
    modules |= {
        name.name for each in ast.walk(tree) if isinstance(each, ast.Import) for name in each.names
    }
    roots = {str(module).partition(".")[0] for module in modules}
    # pydocket's package has the name of ours, and its adapter is for both.
    allowed = {"docket"} if path.stem == "docket_adapter" else set[str]()
    assert not roots & ({"docket", "docket_urls", "ipc", "supervisor", "stress", "tests"} - allowed)


# -- environments


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no interpreter on the PATH, nor npm: nothing is installed."""
    monkeypatch.setenv("PATH", "/nowhere")


@pytest.mark.usefixtures("no_programs")
def test_an_interpreter_that_is_new_enough_is_found_or_asked_for() -> None:
    assert find_python(sys.version_info[:2], ()) == sys.executable
    with pytest.raises(NotInstalled, match=r"needs Python 9\.0.*--python"):
        find_python((9, 0), ("/nowhere/python",))


@pytest.mark.usefixtures("no_programs")
def test_an_environment_is_made_once_and_again_if_it_was_not_finished(tmp_path: Path) -> None:
    nothing = Peer("nothing", "rq_adapter.py", ("rq==3.0.0",), least_python=(9, 0))
    with pytest.raises(NotInstalled):
        environment_of(nothing, tmp_path, ())
    (home,) = tmp_path.iterdir()
    assert not (home / "requirements.json").exists()
    (home / "left-over").touch()
    with pytest.raises(NotInstalled):
        environment_of(nothing, tmp_path, ())
    assert not (home / "left-over").exists()

    (home / "requirements.json").touch()
    assert environment_of(nothing, tmp_path, ()).words[0] == str(home / "bin" / "python")


@pytest.mark.usefixtures("no_programs", "with_forgetful")
async def test_a_peer_that_cannot_be_installed_is_said_so_and_the_others_are_measured(
    tmp_path: Path,
) -> None:
    nothing = Peer("nothing", "rq_adapter.py", ("rq==3.0.0",), least_python=(9, 0))
    on_node = Peer("on-node", "bullmq_adapter.mjs", ("bullmq@6.7.0",), npm=True)
    found = await _compare(tmp_path, (nothing, FORGETFUL, on_node), "single")
    assert found.contestants == ["forgetful"]
    python, node = found.notes
    assert python.startswith("nothing: not installed: it needs Python 9.0")
    assert node == "on-node: not installed: there is no node on the PATH"
    assert found.rows[0].median("forgetful")


async def test_an_environment_that_does_not_work_is_said_so(tmp_path: Path) -> None:
    adapter = tmp_path / "broken_adapter.py"
    adapter.write_text("import a_module_that_nobody_has\n", "utf-8")
    broken = Contestant(FORGETFUL, AdapterProgram((sys.executable, str(adapter)), {}), "")
    with pytest.raises(AdapterFailed, match=r"(?s)ended with 1: .*a_module_that_nobody_has"):
        await broken.describe()


async def test_an_adapter_that_prints_something_else_is_said_so(tmp_path: Path) -> None:
    adapter = tmp_path / "chatty_adapter.py"
    adapter.write_text("print('welcome')\n", "utf-8")
    chatty = Contestant(FORGETFUL, AdapterProgram((sys.executable, str(adapter)), {}), "")
    with pytest.raises(AdapterFailed, match="describe printed no JSON: welcome"):
        await chatty.describe()


# -- turns


async def _measured(_contestant: Contestant, _arena: Arena, _sizes: Sizes) -> dict[str, float]:
    return {"speed": 1.0}


def _course(*measurements: Measurement) -> Course:
    shared = Arena("redis://nowhere", None)  # pyright: ignore[reportArgumentType]
    return Course(shared, SMALL, measurements, lambda _text: None)


def test_contestants_take_turns_and_another_begins_each_round() -> None:
    often = Measurement("often", {"speed": "/s"}, _measured)
    once = Measurement("once", {"size": "MiB"}, _measured, once=True)
    course = _course(often, once)
    without = Peer("b", "rq_adapter.py", absent={"once": "it has none"})
    for peer in (Peer("a", "rq_adapter.py"), without, Peer("c", "rq_adapter.py")):
        course.contestants.append(Contestant(peer, _forgetful(), ""))
    turns = [(turn.measurement.name, turn.contestant.peer.name) for turn in course.turns(2)]
    assert turns == [
        *(("often", name) for name in "abc"),
        *(("once", name) for name in "ac"),
        *(("often", name) for name in "bca"),
    ]


async def test_a_measurement_that_fails_is_noted_once_and_one_without_a_figure_too() -> None:
    async def fail(_contestant: Contestant, _arena: Arena, _sizes: Sizes) -> dict[str, float]:
        raise AdapterFailed("it ended with 1: in file a\n ValueError:  it hangs\n in file b\n")

    failing = Measurement("failing", {"size": "MiB"}, fail)
    partial = Measurement("partial", {"speed": "/s", "depth": "m"}, _measured)
    course = _course(failing, partial)
    course.contestants.append(Contestant(FORGETFUL, _forgetful(), ""))
    for turn in course.turns(2):
        await course.take(turn)
    assert course.notes == [
        "forgetful, failing: it ended with 1: in file a ValueError: it hangs",
        "forgetful, partial: no depth in the time given",
    ]
    assert course.rows["speed"].samples == {"forgetful": [1.0, 1.0]}


# -- what became of the tasks of a killed worker


def test_tasks_of_a_killed_worker_are_lost_or_run_again_or_run_twice() -> None:
    kept = Fate(starts=[(1, 5.0)], ends=[(1, 6.0)])
    redelivered = Fate(starts=[(2, 9.0), (1, 12.5)], ends=[(1, 13.5)])
    later = Fate(starts=[(2, 9.0), (1, 14.0)], ends=[(1, 15.0)])
    lost = Fate(starts=[(2, 9.0)])
    twice = Fate(starts=[(2, 5.0), (1, 11.0)], ends=[(2, 6.0), (1, 12.0)])
    found = dict(enumerate((kept, redelivered, later, lost, twice)))
    found |= dict.fromkeys(range(5, 38), kept)  # two of the forty were never started
    assert after_kill(found, victim=2, killed_at=10.0) == {
        "killed: tasks cut short": 3,
        "killed: tasks lost or waiting": 3,
        "killed: tasks run twice": 1,
        "killed: first redelivery": 2.5,
        "killed: last redelivery": 4.0,
    }


def test_without_a_redelivery_there_is_no_time_of_one() -> None:
    found = after_kill({0: Fate(starts=[(2, 9.0)])}, victim=2, killed_at=10.0)
    assert found == {
        "killed: tasks cut short": 1,
        "killed: tasks lost or waiting": 40,
        "killed: tasks run twice": 0,
    }


def test_a_trace_that_is_just_being_written_is_read_up_to_its_last_whole_record(
    tmp_path: Path,
) -> None:
    run = struct.Struct("<qqd")
    whole = run.pack(7, 0, 1.5) + run.pack(7, 1, 2.5)
    (tmp_path / "runs.12").write_bytes(whole + whole[:9])
    (tmp_path / "slot.12").write_bytes(b"\0" * 24)
    (tmp_path / "slot.13").write_bytes(b"\1")
    assert traces.fates(tmp_path) == {7: Fate([(12, 1.5)], [(12, 2.5)])}
    assert traces.slots(tmp_path) == []


async def test_a_silence_longer_than_that_of_redis_py_is_no_call() -> None:
    async with arena() as quiet:
        assert await quiet.calls(5.5) == 0


# -- the table


def _comparison(**samples: list[float]) -> Comparison:
    rows = [
        Row("drain", "/s", samples),
        Row("latency", "ms", samples),
        Row("cut", "tasks", samples),
    ]
    about = {"quick": {"runtime": "Python 3", "settings": {"loop": "uvloop"}}}
    return Comparison({"cpus": 2}, list(samples), ["ours"], rows, about, ["slow: not installed"])


def test_a_ratio_above_one_is_ahead_whichever_way_is_better() -> None:
    head, (drain, latency, cut) = _comparison(ours=[4, 8, 6], quick=[3], slow=[12]).cells()
    assert head == ["", "ours", "quick", "slow", "best peer", "ours / best"]
    assert drain == ["drain (/s)", "6", "3", "12", "slow", "0.50"]
    assert latency == ["latency (ms)", "6", "3", "12", "quick", "0.50"]
    assert cut == ["cut (tasks)", "6", "3", "12", "-", "-"]


def test_who_comes_too_early_is_not_the_least_late() -> None:
    _, (_, latency, _) = _comparison(ours=[4], early=[-200], late=[2]).cells()
    assert latency == ["latency (ms)", "4", "-200", "2", "late", "0.50"]


def test_a_figure_that_is_not_there_is_a_dash() -> None:
    _, lines = _comparison(ours=[4], quick=[]).cells()
    assert lines[0] == ["drain (/s)", "4", "-", "-", "-"]


def test_a_comparison_in_markdown_has_the_table_the_settings_and_the_notes() -> None:
    text = _comparison(ours=[4], quick=[2]).markdown()
    assert "- cpus: 2" in text
    assert "| drain (/s) | 4 | 2 | quick | 2 |" in text
    assert "- quick (Python 3): loop: uvloop" in text
    assert text.endswith("Not there:\n\n- slow: not installed")


def test_a_record_has_the_samples_and_the_ratios() -> None:
    record = _comparison(ours=[4], quick=[2]).record()
    assert record["rows"][0]["ahead of it"] == {"ours": 2.0}
    assert record["rows"][0]["samples"] == {"ours": [4], "quick": [2]}
    assert json.loads(json.dumps(record)) == record


# -- measurements, of a peer that loses tasks and of ours


@pytest.mark.full  # each alone is measured in the tests below
@pytest.mark.usefixtures("with_forgetful")
async def test_ours_and_a_peer_are_measured_in_the_same_way(tmp_path: Path) -> None:
    found = await _compare(tmp_path, (LIBRARY, FORGETFUL), "drain 1p c10", "latency")
    # So few tasks may have run before anybody looked: then their CPU is not known.
    assert all("no CPU a task" in note for note in found.notes)
    assert (found.contestants, found.ours) == (["library", "forgetful"], ["library"])
    for row in found.rows:
        if not row.name.startswith("CPU"):
            assert all(row.median(each) for each in found.contestants), row.name
            assert row.best(found.peers) == "forgetful"


@pytest.mark.usefixtures("with_forgetful")
async def test_what_a_forgetful_peer_loses_with_its_worker_is_counted(tmp_path: Path) -> None:
    found = await _compare(tmp_path, (FORGETFUL,), "kill")
    rows = {row.name: row.median("forgetful") for row in found.rows}
    lost = rows["killed: tasks lost or waiting"]
    assert lost is not None
    assert rows["killed: tasks cut short"] == 1
    # The other worker runs on: the rest of the backlog takes it longer than the patience lasts.
    assert lost >= 1
    assert rows["killed: tasks run twice"] == 0
    assert rows["killed: first redelivery"] is None
    (note,) = found.notes
    assert note.startswith("forgetful, kill: no killed: first redelivery")


async def test_the_processes_of_a_contestant_end_with_the_block(tmp_path: Path) -> None:
    async with arena() as shared:
        contestant = Contestant(FORGETFUL, _forgetful(), shared.url)
        async with contestant.working(tmp_path, 2, 10) as workers:
            assert len(workers.pids()) == 2
            workers.check()
            orphan = _orphan(contestant, tmp_path)
            assert lives(orphan)
        assert all(root.poll() is not None for root in workers.roots)

        async def is_gone() -> bool:
            return not lives(orphan)

        assert await eventually(is_gone, 20, every=0.01)
        with pytest.raises(AdapterFailed, match="a worker ended"):
            workers.check()


def _orphan(contestant: Contestant, folder: Path) -> int:
    """Start a process as a pool does that is nobody's descendant any more, and return its pid."""
    script = (
        "import subprocess, sys;"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
        " stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)"
    )
    options = json.dumps({"folder": str(folder)})
    told = subprocess.run(
        [contestant.program.words[0], "-c", script],
        env={**os.environ, "PEER_OPTIONS": options},
        capture_output=True,
        check=True,
    )
    return int(told.stdout)


# -- the command


def test_peers_stands_beside_the_scenarios_and_has_options_of_its_own() -> None:
    shown = CliRunner().invoke(bench, ["peers", "--help"], catch_exceptions=False)
    assert (shown.exit_code, "--only" in shown.output) == (0, True)
    shown = CliRunner().invoke(bench, ["--help"], catch_exceptions=False)
    assert (shown.exit_code, "--only" in shown.output) == (0, False)
    assert "`peers` compares it" in shown.output


@pytest.mark.parametrize("option", ["--only", "--rows"])
def test_an_unknown_name_is_refused_with_the_known_ones(option: str) -> None:
    result = CliRunner().invoke(peers, [option, "drian"])
    assert result.exit_code == 2
    assert "there is no 'drian'; there are" in " ".join(result.output.split())


def test_the_command_prints_a_record_of_the_chosen_columns_and_rows(tmp_path: Path) -> None:
    words = ["peers", "--only", "library", "--rows", "single", "--rounds", "2", "--scale", "0.01"]
    result = CliRunner().invoke(
        bench, [*words, "--json", "--cache", str(tmp_path)], catch_exceptions=False
    )
    assert result.exit_code == 0
    record = json.loads(result.stdout)
    assert list(record["contestants"]) == ["library"]
    (row,) = record["rows"]
    assert row["name"] == "enqueue one by one"
    assert len(row["samples"]["library"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_that_is_terminated_leaves_no_worker_behind(tmp_path: Path) -> None:
    words = ["--only", "supervised", "--rows", "idle", "--idle-seconds", "100"]
    command = [sys.executable, "-m", "stress.bench", "peers", *words, "--cache", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as running:
        try:
            pool = _until_there(running.pid, "supervisor.cli")
            running.send_signal(signal.SIGTERM)
            assert running.wait(60) == 128 + signal.SIGTERM
        finally:
            running.kill()
    assert not pool.is_running()


def _until_there(pid: int, word: str) -> psutil.Process:
    """Wait for a descendant with that word in its command line."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        for each in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if word in each.cmdline():
                    return each
        time.sleep(0.05)
    raise AssertionError(f"no {word} was started")


@pytest.mark.full
@pytest.mark.timeout(400)
def test_a_peer_of_pypi_is_installed_and_measured(tmp_path: Path) -> None:
    words = ["--only", "rq", "--rows", "single,drain 1p c10", "--rounds", "1", "--scale", "0.02"]
    command = [sys.executable, "-m", "stress.bench", "peers", *words, "--json"]
    told = subprocess.run(
        [*command, "--cache", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    record = json.loads(told.stdout)
    assert record["notes"] == []
    assert record["contestants"]["rq"]["installed"]["rq"] == "3.0.0"
    assert all(row["medians"]["rq"] > 0 for row in record["rows"])
