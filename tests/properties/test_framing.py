"""Whatever the bytes and wherever they are cut, a decoder gives messages or its own errors."""

import itertools
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from ipc.errors import FrameError, FrameTooLarge, MalformedFrame
from ipc.framing import PREFIX, Decoder, encode
from ipc.messages import (
    MAX_FRAME,
    Adopted,
    Backlog,
    Drained,
    Draining,
    Fault,
    FromWorker,
    Heartbeat,
    Hello,
    Histogram,
    Message,
    Ready,
    Redelivered,
    ServerPolicy,
    Task,
    Waiting,
    WorkerCounters,
)

whole = st.integers(min_value=-(2**63), max_value=2**64 - 1)
count = st.integers(min_value=0, max_value=2**40)
real = st.floats(allow_nan=False)
text = st.text(max_size=60)

counters = st.builds(
    WorkerCounters,
    started=count,
    failed=count,
    duration=st.builds(Histogram, counts=st.lists(count, max_size=4), sum=real),
)
from_worker: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, protocol=whole, pid=whole),
    st.builds(Ready, consumer=text, name=text, rss_bytes=count),
    st.builds(Waiting, reason=text),
    st.builds(
        Heartbeat,
        sequence=count,
        loop_lag_seconds=real,
        in_flight=st.lists(st.builds(Task, key=text, function=text, seconds=real), max_size=3),
        in_flight_total=count,
        counters=counters,
        rss_bytes=count,
    ),
    st.builds(Draining),
    st.builds(Drained),
    st.builds(Adopted, consumer=text, moved=count, poisoned=st.lists(text, max_size=3)),
    st.builds(Redelivered, consumer=text, started_at=real),
    st.builds(ServerPolicy, maxmemory_policy=text, appendonly=st.booleans()),
    st.builds(
        Backlog,
        queued=count,
        oldest_ready_seconds=st.none() | real,
        lateness_seconds=st.none() | real,
        places=count,
    ),
    st.builds(Fault, reason=text, traceback=text),
)
streams = st.lists(from_worker, max_size=8)


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """`data` cut at `cuts` (any numbers, taken modulo its length)."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


cuts = st.lists(st.integers(min_value=0, max_value=1 << 30), max_size=20)


@given(streams, cuts)
def test_a_stream_cut_anywhere_comes_out_as_it_went_in(
    messages: list[Message], cuts: list[int]
) -> None:
    decoder = Decoder(FromWorker)
    data = b"".join(encode(message) for message in messages)

    received = [message for piece in pieces(data, cuts) for message in decoder.feed(piece)]

    assert received == messages
    assert decoder.pending == 0


@given(streams.filter(bool), st.integers(min_value=1), cuts)
def test_a_truncated_stream_gives_its_whole_frames_and_shows_the_torn_one(
    messages: list[Message], missing: int, cuts: list[int]
) -> None:
    decoder = Decoder(FromWorker)
    frames = [encode(message) for message in messages]
    torn = frames[-1][: len(frames[-1]) - 1 - missing % (len(frames[-1]) - 1)]

    received = [
        message
        for piece in pieces(b"".join(frames[:-1]) + torn, cuts)
        for message in decoder.feed(piece)
    ]

    assert received == messages[:-1]
    assert decoder.pending == len(torn) > 0


@given(streams, st.integers(min_value=MAX_FRAME + 1, max_value=2**32 - 1), st.binary(), cuts)
def test_an_oversized_frame_is_refused_before_any_of_it_is_kept(
    messages: list[Message], length: int, rest: bytes, cuts: list[int]
) -> None:
    decoder = Decoder(FromWorker)
    data = b"".join(encode(message) for message in messages) + length.to_bytes(PREFIX, "big") + rest

    received, error = drink(decoder, pieces(data, cuts))

    assert received == messages
    assert isinstance(error, FrameTooLarge)
    assert decoder.pending == 0


@given(st.binary(max_size=4096), cuts)
def test_garbage_raises_our_errors_or_nothing(data: bytes, cuts: list[int]) -> None:
    decoder = Decoder(FromWorker)

    _, error = drink(decoder, pieces(data, cuts))

    assert error is None or isinstance(error, FrameTooLarge | MalformedFrame)
    assert decoder.pending <= len(data)


@given(st.binary(max_size=2000))
def test_a_framed_garbage_payload_is_malformed_or_a_message(payload: bytes) -> None:
    decoder = Decoder(FromWorker)

    received, error = drink(decoder, [len(payload).to_bytes(PREFIX, "big") + payload])

    assert isinstance(error, MalformedFrame) != (len(received) == 1)


@given(streams.filter(bool), st.data())
def test_a_flipped_bit_is_never_more_than_our_own_error(
    messages: list[Message], data: st.DataObject
) -> None:
    stream = bytearray(b"".join(encode(message) for message in messages))
    position = data.draw(st.integers(0, len(stream) - 1))
    stream[position] ^= 1 << data.draw(st.integers(0, 7))
    decoder = Decoder(FromWorker)

    drink(decoder, pieces(bytes(stream), data.draw(cuts)))

    assert decoder.pending <= len(stream)


@given(st.integers(0, 200), st.binary(max_size=3000), cuts)
def test_a_decoder_never_keeps_more_than_one_frame(
    limit: int, data: bytes, cuts: list[int]
) -> None:
    decoder = Decoder(FromWorker, limit)

    for piece in pieces(data, cuts):
        _, error = drink(decoder, [piece])
        assert decoder.pending < PREFIX + limit or decoder.pending == 0
        if error is not None:
            break


def drink(
    decoder: Decoder[Message], data: Iterable[bytes]
) -> tuple[list[object], FrameError | None]:
    """Everything that comes out, up to the first error of the package; any other one escapes."""
    received: list[object] = []
    for piece in data:
        try:
            received.extend(decoder.feed(piece))
        except FrameError as error:
            return [*received, *error.decoded], error
    return received, None
