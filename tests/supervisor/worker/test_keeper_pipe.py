"""Beats from the keeper's thread."""

import os
from collections.abc import Iterator

import pytest

from ipc.framing import Decoder
from ipc.messages import MAX_BEAT_FRAME, MAX_BLOCKING_KEY, FromKeeper, KeeperBeat
from supervisor.worker.keeper_pipe import KeeperPipe

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    yield read, write
    os.close(write)


def beats(read: int) -> list[KeeperBeat]:
    decoder: Decoder[KeeperBeat] = Decoder(FromKeeper)
    return decoder.feed(os.read(read, 1 << 20))


def test_beats_are_counted_and_name_the_blocking_task(pipe: Pipe) -> None:
    keeper = KeeperPipe(pipe[1])

    assert keeper.beat(0.0, None)
    assert keeper.beat(1.5, "the-task")

    assert beats(pipe[0]) == [KeeperBeat(1, 0.0), KeeperBeat(2, 1.5, "the-task")]
    os.close(pipe[0])


@pytest.mark.parametrize("blocking_key", ["k" * 5000, "\U0001f600" * 5000, "\ud800" * 5000])
def test_a_key_of_any_length_fits_a_frame(pipe: Pipe, blocking_key: str) -> None:
    assert KeeperPipe(pipe[1]).beat(0.0, blocking_key)

    [beat] = beats(pipe[0])
    assert beat.blocking_key is not None
    assert 0 < len(beat.blocking_key.encode()) <= MAX_BLOCKING_KEY
    os.close(pipe[0])


def test_a_full_pipe_drops_whole_beats_and_later_ones_go_on(pipe: Pipe) -> None:
    keeper = KeeperPipe(pipe[1])
    sent = 0
    while keeper.beat(0.0, "k" * MAX_BLOCKING_KEY):
        sent += 1

    received = beats(pipe[0])

    assert [beat.counter for beat in received] == list(range(1, sent + 1))
    assert sent > 100_000 // (2 * MAX_BEAT_FRAME)
    assert keeper.beat(0.0, None)
    assert beats(pipe[0]) == [KeeperBeat(sent + 2, 0.0)]
    os.close(pipe[0])


def test_beats_without_a_reader_are_dropped(pipe: Pipe) -> None:
    os.close(pipe[0])

    assert not KeeperPipe(pipe[1]).beat(0.0, None)
