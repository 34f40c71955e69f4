"""The thread that ends a worker whose supervisor is gone."""

import os
import queue
from collections.abc import Iterator

import pytest

from supervisor.orphan_watch import ORPHAN_STATUS, OrphanWatch

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    read, write = os.pipe()
    yield read, write
    os.close(write)


def test_the_process_is_ended_some_time_after_the_supervisor(pipe: Pipe) -> None:
    ended: queue.Queue[int] = queue.Queue()
    OrphanWatch(pipe[1], 0.01, ended.put).start()

    os.close(pipe[0])

    assert ended.get(timeout=10) == ORPHAN_STATUS


def test_beats_that_nobody_has_read_are_no_end(pipe: Pipe) -> None:
    ended: queue.Queue[int] = queue.Queue()
    OrphanWatch(pipe[1], 0, ended.put).start()

    os.write(pipe[1], b"x" * 1000)

    with pytest.raises(queue.Empty):
        ended.get(timeout=0.1)
    os.close(pipe[0])
    assert ended.get(timeout=10) == ORPHAN_STATUS


def test_a_stopped_watch_ends_nothing(pipe: Pipe) -> None:
    ended: queue.Queue[int] = queue.Queue()
    watch = OrphanWatch(pipe[1], 100, ended.put)
    watch.start()
    watch.stop()
    watch.stop()

    os.close(pipe[0])

    watch.join()
    assert ended.empty()
