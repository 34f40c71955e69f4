"""Deaths around a nursery: its own, its supervisor's, and a worker's that it cannot see."""

import select
import signal
from pathlib import Path

import pytest

from ipc.messages import Exited, Ready
from supervisor.grace_periods import ORPHAN_SECONDS
from tests.support.nursery import is_running, puppets, settings, started, wait_for_end
from tests.support.real_workers import add

SOURCE = "import time\nasync def block(seconds):\n    time.sleep(seconds)\ntasks = [block]\n"


@pytest.fixture
def module(tmp_path: Path) -> Path:
    file = tmp_path / "deadly_tasks.py"
    file.write_text(SOURCE)
    return file


def test_the_workers_of_a_killed_nursery_go_on_and_end_with_their_supervisor(
    tmp_path: Path,
) -> None:
    with puppets() as nursery:
        nursery.load(settings(tmp_path))
        worker = nursery.spawn()
        worker.facts()

        nursery.process.kill()
        nursery.wait()

        assert worker.tell("fork"), "it works on"
        nursery.die()
        wait_for_end(worker.pid)


def test_a_frozen_nursery_hides_no_death(tmp_path: Path) -> None:
    with puppets() as nursery:
        nursery.load(settings(tmp_path))
        worker = nursery.spawn()
        worker.facts()
        poller = select.poll()
        poller.register(worker.pidfd, select.POLLIN)

        nursery.process.send_signal(signal.SIGSTOP)
        signal.pidfd_send_signal(worker.pidfd, signal.SIGKILL)

        assert poller.poll(1000), "seen through the pidfd"
        nursery.process.send_signal(signal.SIGCONT)
        assert nursery.next(Exited).pid == worker.pid


def test_a_worker_whose_loop_hangs_does_not_outlive_its_supervisor(
    module: Path, server: str, docket_name: str
) -> None:
    pool = settings(
        module.parent,
        tasks=["deadly_tasks:tasks"],
        docket=docket_name,
        url=server,
        drain_timeout_seconds=0.1,
        heartbeat_seconds=0.05,
        logging_level="CRITICAL",
    )
    with started("supervisor.nursery.program") as nursery:
        nursery.load(pool)
        worker = nursery.spawn()
        worker.next(Ready)
        add(pool, "block", ORPHAN_SECONDS * 10)
        next(beat for beat in worker.beats() if beat.blocking_key is not None)

        # Without its nursery nobody else is left who would kill it.
        nursery.process.kill()
        nursery.wait()
        nursery.die()

        wait_for_end(worker.pid)


def test_no_subprocess_of_a_task_outlives_the_supervisor(
    tmp_path: Path,
) -> None:
    with puppets() as nursery:
        nursery.load(settings(tmp_path))
        worker = nursery.spawn()
        worker.facts()
        left = int(worker.tell("stubborn"))

        nursery.die()
        wait_for_end(worker.pid)

        assert nursery.wait() == 0
        wait_for_end(left)
        assert not is_running(left)
