"""The thread that ends a worker whose supervisor is gone."""

import os
import queue
from collections.abc import Iterator
from datetime import timedelta

import pytest

from supervisor.child.parent_watch import ORPHAN_STATUS, end_after_supervisor
from supervisor.config import SupervisorConfig
from supervisor.grace_periods import (
    CLEANUP_SECONDS,
    EXIT_SECONDS,
    ORPHAN_SECONDS,
    PROCESS_GROUP_SECONDS,
)
from supervisor.supervisor import worker_settings

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    read, write = os.pipe()
    yield read, write
    os.close(write)


def test_the_process_is_ended_some_time_after_the_supervisor(pipe: Pipe) -> None:
    ended: queue.Queue[int] = queue.Queue()
    end_after_supervisor(pipe[1], 0.01, ended.put)

    os.close(pipe[0])

    assert ended.get(timeout=10) == ORPHAN_STATUS


def test_unread_beats_are_no_end(pipe: Pipe) -> None:
    ended: queue.Queue[int] = queue.Queue()
    end_after_supervisor(pipe[1], 0, ended.put)

    os.write(pipe[1], b"x" * 1000)

    with pytest.raises(queue.Empty):
        ended.get(timeout=0.1)
    os.close(pipe[0])
    assert ended.get(timeout=10) == ORPHAN_STATUS


def test_a_drain_without_a_supervisor_is_as_long_as_one_with_it() -> None:
    config = SupervisorConfig(drain_timeout=timedelta(seconds=7))

    assert worker_settings(config, config.url).drain_timeout_seconds == 7.0
    assert ORPHAN_SECONDS + PROCESS_GROUP_SECONDS == CLEANUP_SECONDS + EXIT_SECONDS
