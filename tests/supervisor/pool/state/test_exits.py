import signal

import pytest

from supervisor.pool.state.exits import classify, describe_status
from supervisor.pool.state.worker_registry import Cause, WorkerProcess, WorkerState


def worker(state: WorkerState) -> WorkerProcess:
    return WorkerProcess(1, 1, "host#1", 1, 0.0, state=state)


def test_a_crash_counts_for_everyone_that_was_running_in_it() -> None:
    death = classify(worker(WorkerState.READY), signal.SIGKILL)
    assert (death.cause, death.expected, death.blame) == (Cause.CRASH, False, "everyone")
    assert death.adopt
    assert death.reason == "killed by SIGKILL"


def test_a_worker_that_ends_by_itself_has_crashed_even_with_status_zero() -> None:
    death = classify(worker(WorkerState.READY), 0)
    assert (death.cause, death.expected, death.reason) == (Cause.CRASH, False, "exit status 0")


def test_a_drained_worker_leaves_nothing_however_it_ends() -> None:
    death = classify(worker(WorkerState.DRAINED), signal.SIGKILL)
    assert (death.expected, death.adopt) == (True, False)


def test_a_clean_exit_of_a_draining_worker_is_a_drain_whose_last_message_was_lost() -> None:
    death = classify(worker(WorkerState.DRAINING), 0)
    assert (death.expected, death.blame, death.adopt) == (True, "nobody", True)


def test_a_draining_worker_that_is_killed_by_another_has_crashed() -> None:
    death = classify(worker(WorkerState.DRAINING), signal.SIGSEGV)
    assert (death.cause, death.expected, death.blame) == (Cause.CRASH, False, "everyone")


def test_a_death_while_starting_has_a_cause_of_its_own() -> None:
    dead = worker(WorkerState.STARTING)
    dead.fault = "no module named shop"
    death = classify(dead, 256)
    assert (death.cause, death.reason) == (Cause.BOOT, "no module named shop")


@pytest.mark.parametrize(
    ("cause", "expected"),
    [(Cause.BOOT, False), (Cause.STALL, False), (Cause.DRAIN, True), (Cause.RETIRED, True)],
)
def test_a_death_that_the_supervisor_caused_counts_for_nobody(cause: Cause, expected: bool) -> None:
    dead = worker(WorkerState.READY)
    dead.kill_reason, dead.kill_cause = "because", cause
    death = classify(dead, signal.SIGKILL)
    assert (death.cause, death.expected, death.blame) == (cause, expected, "nobody")
    assert death.reason == "because"
    assert death.adopt


def test_a_stall_counts_for_the_task_that_held_the_loop() -> None:
    dead = worker(WorkerState.READY)
    dead.kill_reason, dead.kill_cause, dead.blame = "stalled", Cause.STALL, "key:order-1"
    assert classify(dead, signal.SIGKILL).blame == "key:order-1"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, "its process ended"),
        (0, "exit status 0"),
        (3 << 8, "exit status 3"),
        (11, "killed by SIGSEGV"),
        (62, "killed by signal 62"),
    ],
)
def test_a_wait_status_is_shown_in_words(status: int | None, words: str) -> None:
    assert describe_status(status) == words
