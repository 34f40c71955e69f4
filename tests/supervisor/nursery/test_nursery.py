"""A real nursery, started by exec, with puppets for workers."""

import os
import signal
import socket
from pathlib import Path

import pytest

from ipc.messages import (
    Dump,
    Exited,
    Kill,
    Retire,
    Spawn,
    Spawned,
    SpawnFailed,
)
from supervisor.child.fork_setup import OOM_SCORE_RAISED
from supervisor.child.signal_shield import SHIELDED
from supervisor.grace_periods import ORPHAN_SECONDS
from tests.support.nursery import is_running, puppets, settings, wait_for_end


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A user's module, empty so far."""
    file = tmp_path / "their_tasks.py"
    file.write_text("tasks = []\n")
    return file


THEIRS = ["their_tasks:tasks"]


def test_a_nursery_loads_once_and_forks_workers_of_their_own_group(module: Path) -> None:
    with puppets() as nursery:
        loaded = nursery.load(settings(module.parent, tasks=THEIRS, generation=7))
        first, second = nursery.spawn(1), nursery.spawn(2)
        facts, others = first.facts(), second.facts()

        assert loaded.generation == 7
        assert loaded.seconds > 0
        assert (facts["pid"], facts["slot"], facts["name"]) == (first.pid, 1, "host#1")
        assert (facts["group"], others["group"]) == (first.pid, second.pid)
        assert facts["session"] == others["session"] == nursery.process.pid
        assert (facts["cwd"], facts["path"]) == (str(module.parent), str(module.parent))


def test_a_worker_shares_no_state_with_the_nursery_or_its_siblings(module: Path) -> None:
    module.write_text(
        "import asyncio, random, uuid_utils\n"
        "asyncio.set_event_loop(object.__new__(asyncio.SelectorEventLoop))\n"
        "uuid_utils.uuid4()\n"
        "tasks = []\n"
    )
    with puppets() as nursery:
        nursery.load(settings(module.parent, tasks=THEIRS))
        facts, others = nursery.spawn(1).facts(), nursery.spawn(2).facts()

        assert facts["collecting"]
        assert facts["frozen"] > 1000
        assert not facts["loop"]
        assert facts["random"] != others["random"]
        assert facts["twin"] != others["twin"]
        assert facts["wakeup"] == -1
        assert facts["threads"] == ["MainThread"]
        own_score = int(Path("/proc/self/oom_score_adj").read_text())
        assert facts["oom_score"] == min(1000, own_score + OOM_SCORE_RAISED)


def test_a_worker_holds_its_own_descriptors_and_none_of_the_nursery_or_its_siblings(
    module: Path,
) -> None:
    with puppets() as nursery:
        nursery.load(settings(module.parent, tasks=THEIRS))
        nursery.spawn(1).facts()
        facts = nursery.spawn(2).facts()

        held = set(map(int, facts["descriptors"])) - {0, 1, 2}
        assert held == set(facts["own"])


def test_spawns_that_come_at_once_get_each_their_own_descriptors(module: Path) -> None:
    with puppets() as nursery:
        nursery.send(settings(module.parent, tasks=THEIRS))
        asked = [nursery.ask(1), nursery.ask(2)]
        workers = [nursery.born(child) for child in asked]

        facts = [worker.facts() for worker in workers]

        assert [fact["slot"] for fact in facts] == [1, 2]
        assert [fact["pid"] for fact in facts] == [worker.pid for worker in workers]
        for fact in facts:
            assert set(map(int, fact["descriptors"])) - {0, 1, 2} == set(fact["own"])


def test_signals_to_a_worker_do_nothing_and_its_subprocesses_have_the_defaults(
    module: Path,
) -> None:
    with puppets() as nursery:
        nursery.load(settings(module.parent, tasks=THEIRS))
        worker = nursery.spawn()
        facts = worker.facts()

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.pidfd_send_signal(worker.pidfd, number)

        # What whoever started the tests ignores stays ignored: a shell does so for what it puts
        # into the background.
        kept = {each.name for each in signal.Signals if signal.getsignal(each) is signal.SIG_IGN}
        quiet = {n: kind for n, kind in facts["handlers"].items() if n not in {"SIGCHLD", *kept}}
        assert set(quiet.values()) == {"python"}
        assert facts["handlers"]["SIGCHLD"] == "0"
        assert facts["blocked"] == []
        ignored = {"1"} if kept & {each.name for each in SHIELDED} else set[str]()
        assert set(worker.tell("fork").split()) == {"0"} | ignored
        inherited = worker.tell("inherits").split()
        assert int(inherited[1], 16) == 0, "blocked"
        ours = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
        assert not any(int(inherited[3], 16) >> (number - 1) & 1 for number in ours)


def test_signals_to_the_nursery_do_nothing(module: Path) -> None:
    module.write_text("import signal\nsignal.signal(15, signal.SIG_DFL)\ntasks = []\n")
    with puppets() as nursery:
        nursery.load(settings(module.parent, tasks=THEIRS))

        nursery.process.send_signal(signal.SIGTERM)
        nursery.process.send_signal(signal.SIGINT)

        assert nursery.spawn().facts()["slot"] == 1


def test_an_exit_is_reported_with_its_status_and_its_use_of_resources(module: Path) -> None:
    with puppets() as nursery:
        nursery.load(settings(module.parent, tasks=THEIRS))
        worker = nursery.spawn()
        worker.facts()

        worker.leave(status=3)
        exited = nursery.next(Exited)

        assert (exited.pid, os.waitstatus_to_exitcode(exited.status)) == (worker.pid, 3)
        assert exited.user_seconds >= 0
        assert 5_000_000 < exited.max_rss_bytes < 500_000_000
        assert not Path(f"/proc/{worker.pid}").exists(), "reaped"


def test_the_inherited_exit_handlers_do_not_run_in_a_worker_and_its_own_do(
    module: Path, tmp_path: Path
) -> None:
    module.write_text(
        "import atexit, os, pathlib\n"
        f"atexit.register(lambda: pathlib.Path({str(tmp_path / 'inherited')!r})"
        ".write_text(str(os.getpid())))\n"
        "tasks = []\n"
    )
    with puppets() as nursery:
        nursery.load(settings(module.parent, tasks=THEIRS))
        worker = nursery.spawn()
        worker.facts()
        worker.tell(f"own-exit-handler:{tmp_path / 'own'}")

        worker.leave()

        assert nursery.next(Exited).status == 0
        assert (tmp_path / "own").exists()
        assert not (tmp_path / "inherited").exists()
        nursery.send(Retire())
        assert nursery.wait() == 0
        assert (tmp_path / "inherited").read_text() == str(nursery.process.pid)


def test_a_worker_waits_for_the_threads_of_its_tasks_to_end(module: Path) -> None:
    with puppets() as nursery:
        nursery.load(settings(module.parent, tasks=THEIRS))
        worker = nursery.spawn()
        worker.facts()
        worker.tell("thread")

        worker.leave(status=4)

        assert os.waitstatus_to_exitcode(nursery.next(Exited).status) == 4


def test_a_worker_that_raises_exits_with_one(module: Path) -> None:
    with puppets() as nursery:
        nursery.load(settings(module.parent, tasks=THEIRS))
        worker = nursery.spawn()
        worker.facts()

        worker.channel.send(Dump())  # not in a puppet's repertoire

        assert os.waitstatus_to_exitcode(nursery.next(Exited).status) == 1


def test_a_kill_reaches_a_worker_and_no_stranger(module: Path) -> None:
    with puppets() as nursery:
        nursery.load(settings(module.parent, tasks=THEIRS))
        worker = nursery.spawn()
        worker.facts()

        nursery.send(Kill(os.getpid()))
        nursery.send(Kill(worker.pid))

        exited = nursery.next(Exited)
        assert (exited.pid, exited.status) == (worker.pid, signal.SIGKILL)


def test_the_subprocesses_of_a_dead_worker_do_not_outlive_it(module: Path) -> None:
    with puppets() as nursery:
        nursery.load(settings(module.parent, tasks=THEIRS))
        worker = nursery.spawn()
        worker.facts()
        gentle, stubborn = int(worker.tell("subprocess")), int(worker.tell("stubborn"))
        assert is_running(gentle)
        assert is_running(stubborn)

        signal.pidfd_send_signal(worker.pidfd, signal.SIGKILL)

        assert nursery.next(Exited).pid == worker.pid
        wait_for_end(gentle)
        wait_for_end(stubborn)


def test_a_worker_that_left_only_gentle_subprocesses_is_reaped_without_the_whole_grace(
    module: Path,
) -> None:
    with puppets() as nursery:
        nursery.load(settings(module.parent, tasks=THEIRS))
        worker, sibling = nursery.spawn(1), nursery.spawn(2)
        worker.facts()
        sibling.facts()
        left = int(worker.tell("subprocess"))

        worker.leave()
        sibling.leave()

        assert {nursery.next(Exited).pid, nursery.next(Exited).pid} == {worker.pid, sibling.pid}
        wait_for_end(left)


def test_a_retired_nursery_ends_with_its_last_worker(module: Path) -> None:
    with puppets() as nursery:
        nursery.load(settings(module.parent, tasks=THEIRS))
        worker = nursery.spawn()
        worker.facts()

        nursery.send(Retire())
        assert worker.tell("fork"), "it works on"
        assert nursery.process.poll() is None
        worker.leave()

        assert nursery.wait() == 0


def test_a_nursery_retired_without_workers_ends_at_once(module: Path) -> None:
    with puppets() as nursery:
        nursery.load(settings(module.parent, tasks=THEIRS))

        nursery.send(Retire())

        assert nursery.wait() == 0


def test_without_preload_nothing_is_imported_but_the_directory_is_entered(module: Path) -> None:
    module.write_text("raise RuntimeError\n")
    with puppets() as nursery:
        nursery.load(settings(module.parent, tasks=THEIRS, preload=False))

        assert nursery.spawn().facts()["cwd"] == str(module.parent)


def test_settings_that_come_again_are_ignored(module: Path) -> None:
    with puppets() as nursery:
        nursery.load(settings(module.parent, tasks=THEIRS))

        nursery.send(settings(module.parent, generation=9))

        assert nursery.spawn().facts()["slot"] == 1


def test_a_fork_that_fails_is_reported_and_leaves_the_nursery_at_work(module: Path) -> None:
    module.write_text(
        "import os\n"
        "fork = os.fork\n"
        "def failing():\n"
        "    os.fork = fork\n"
        "    raise OSError(11, 'Resource temporarily unavailable')\n"
        "os.fork = failing\n"
        "tasks = []\n"
    )
    with puppets() as nursery:
        nursery.load(settings(module.parent, tasks=THEIRS))
        ours, theirs = socket.socketpair()
        nursery.send(Spawn(4, "host#4"), [theirs.detach(), os.dup(1), os.dup(1)])

        failed = nursery.next(SpawnFailed)

        assert failed.slot == 4
        assert "Resource temporarily unavailable" in failed.reason
        with ours:
            ours.settimeout(20)
            assert ours.recv(1) == b"", "the descriptors of the Spawn are closed"
        assert nursery.spawn(5).facts()["slot"] == 5


def test_a_system_without_pidfds_is_reported(module: Path) -> None:
    module.write_text("import os\ndel os.pidfd_open\ntasks = []\n")
    with puppets() as nursery:
        nursery.load(settings(module.parent, tasks=THEIRS))
        ours, theirs = socket.socketpair()
        nursery.send(Spawn(1, "host#1"), [theirs.detach(), os.dup(1), os.dup(1)])

        spawned = nursery.next(Spawned)

        assert not spawned.has_pidfd
        ours.close()
        assert nursery.next(Exited).pid == spawned.pid


def test_a_lifeline_is_held_by_the_workers_and_not_by_their_subprocesses(
    module: Path,
) -> None:
    read, write = os.pipe()
    with puppets(lifeline=write) as nursery:
        os.close(write)
        nursery.load(settings(module.parent, tasks=THEIRS, lifeline=write))
        worker = nursery.spawn()
        assert str(write) in worker.facts()["descriptors"]
        left = int(worker.tell("subprocess"))

        assert str(write) not in {fd.name for fd in Path(f"/proc/{left}/fd").iterdir()}
    os.close(read)


def test_the_nursery_outlives_neither_its_supervisor_nor_workers_that_drain(
    module: Path,
) -> None:
    with puppets() as nursery:
        nursery.load(settings(module.parent, tasks=THEIRS))
        worker = nursery.spawn()
        worker.facts()

        nursery.die()

        assert nursery.wait() == 0
        assert not is_running(worker.pid)


def test_workers_of_a_supervisor_that_is_gone_are_killed_after_the_drain(module: Path) -> None:
    with puppets({"PUPPETS_OUTLIVE": "1"}) as nursery:
        drain_timeout_seconds = 0.2 - ORPHAN_SECONDS
        nursery.load(
            settings(module.parent, tasks=THEIRS, drain_timeout_seconds=drain_timeout_seconds)
        )
        worker = nursery.spawn()
        worker.facts()

        nursery.die()

        assert nursery.wait() == 0
        assert not is_running(worker.pid)


def test_a_supervisor_gone_before_the_settings_ends_the_nursery() -> None:
    with puppets() as nursery:
        nursery.die()

        assert nursery.wait() == 1


def test_garbage_from_the_supervisor_counts_as_its_end(module: Path) -> None:
    with puppets() as nursery:
        nursery.load(settings(module.parent, tasks=THEIRS))

        os.write(nursery.channel.fileno(), b"\xff" * 8)

        assert nursery.wait() == 0
