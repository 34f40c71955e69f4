"""Tasks that work in threads, beyond the deadline of their worker."""

import signal
from pathlib import Path

import pytest

from tests.support.parameters import in_full
from tests.support.supervised import Program
from tests.support.user_code import copied, producer, ready_pool_in

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

#: A worker that is replaced hands back what it runs, and is killed five seconds later.
RETIRED = ("--retire-timeout", "300ms")


async def outlived(tmp_path: Path, task: str, seconds: float) -> tuple[object, Program]:
    """Reload a pool beside a task that is at work in a thread; its result, and the ended pool."""
    copied(tmp_path, "thread_jobs")
    with ready_pool_in(tmp_path, *RETIRED, tasks="thread_jobs:tasks", processes=1) as program:
        async with producer(program) as tasks:
            sent = await tasks.add(task, seconds)
            program.until((tmp_path / "notes.txt").exists, "it never began")
            program.send(signal.SIGHUP)
            result = await sent.result()
        assert program.end() == 0
    return result, program


async def test_a_task_runs_again_when_its_thread_has_ended(tmp_path: Path) -> None:
    result, _ = await outlived(tmp_path, "in_a_thread", 3)

    assert result == [True, []]


async def test_what_a_plain_function_returns_after_the_deadline_is_recorded(
    tmp_path: Path,
) -> None:
    result, _ = await outlived(tmp_path, "plain", 3)

    assert result == [False, []]


@pytest.mark.parametrize("task", ["plain", *in_full("in_a_thread")])
async def test_a_task_whose_thread_will_not_end_runs_again_when_its_process_has_ended(
    tmp_path: Path, task: str
) -> None:
    result, program = await outlived(tmp_path, task, 60)

    assert result == [True, []]
    # It is named, with its stack.
    assert "a thread of it goes on" in program.log
    assert "in work" in program.log
    assert " died" not in program.log
