"""Log lines about exits: written once, with their status if it comes in time."""

import pytest

from supervisor.grace_periods import EXIT_STATUS_SECONDS
from supervisor.pool.exit_log import ExitLog
from supervisor.pool.state.exits import WorkerExit
from supervisor.pool.state.worker_registry import Cause


def crash(
    reason: str = "its process ended", pid: int | None = 12, *, final: bool = False
) -> WorkerExit:
    return WorkerExit("worker 1 (pid 12)", pid, Cause.CRASH, False, "everyone", True, reason, final)


def test_a_crash_is_logged_when_its_status_is_known_and_only_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    exit_log = ExitLog()
    exit_log.add(crash(), "replaced at once", 100.0)
    exit_log.tick(100.5)
    assert caplog.messages == []
    exit_log.reaped(12, "killed by SIGSEGV")
    exit_log.reaped(12, "killed by SIGSEGV")
    exit_log.tick(1000.0)
    assert caplog.messages == ["worker 1 (pid 12) died: killed by SIGSEGV; replaced at once"]


def test_a_crash_whose_status_never_comes_is_logged_without_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    exit_log = ExitLog()
    exit_log.add(crash(), "replaced at once", 100.0)
    exit_log.tick(100.0 + EXIT_STATUS_SECONDS)
    assert caplog.messages == ["worker 1 (pid 12) died: its process ended; replaced at once"]


@pytest.mark.parametrize(("pid", "final"), [(12, True), (None, False)])
def test_there_is_nothing_to_wait_for_if_the_reason_is_known_or_there_was_no_process(
    caplog: pytest.LogCaptureFixture, pid: int | None, final: bool
) -> None:
    ExitLog().add(crash("its loop was silent", pid, final=final), "replaced", 100.0)
    assert caplog.messages[0].endswith("died: its loop was silent; replaced")


def test_an_end_that_was_wanted_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    wanted = WorkerExit("worker 1 (pid 12)", 12, Cause.RETIRED, True, "nobody", False, "drained")
    ExitLog().add(wanted, "not replaced", 100.0)
    (record,) = caplog.records
    assert (record.levelname, record.message) == ("INFO", "worker 1 (pid 12) ended: drained")
