"""Framing by example; tests/properties tears it apart at random."""

import pytest

from ipc.errors import FrameTooLarge, MalformedFrame
from ipc.framing import PREFIX, Decoder, encode
from ipc.messages import MAX_FRAME, Drained, Draining, Fault, FromWorker, Hello, Spawned, Unsafe


def test_a_frame_is_its_length_and_its_payload() -> None:
    frame = encode(Drained())

    assert int.from_bytes(frame[:PREFIX], "big") == len(frame) - PREFIX


def test_glued_frames_come_out_in_order() -> None:
    decoder = Decoder(FromWorker)

    messages = decoder.feed(encode(Hello(1, 2)) + encode(Draining()) + encode(Drained()))

    assert messages == [Hello(1, 2), Draining(), Drained()]
    assert decoder.pending == 0


def test_a_torn_frame_is_kept_until_the_rest_comes() -> None:
    decoder = Decoder(FromWorker)
    frame = encode(Hello(1, 2))

    assert decoder.feed(frame[:-1]) == []
    assert decoder.pending == len(frame) - 1

    assert decoder.feed(frame[-1:]) == [Hello(1, 2)]
    assert decoder.pending == 0


def test_an_oversized_frame_is_refused_on_its_length_prefix() -> None:
    decoder = Decoder(FromWorker)

    with pytest.raises(FrameTooLarge, match=r"1048577 bytes .* limit of 1048576"):
        decoder.feed((MAX_FRAME + 1).to_bytes(PREFIX, "big"))

    assert decoder.pending == 0


def test_a_frame_of_exactly_the_limit_passes() -> None:
    room = MAX_FRAME - (len(encode(Fault("x" * 100_000))) - PREFIX - 100_000)
    decoder = Decoder(FromWorker)

    [message] = decoder.feed(encode(Fault("x" * room)))

    assert message == Fault("x" * room)


def test_a_message_over_the_limit_is_not_sent() -> None:
    with pytest.raises(FrameTooLarge, match="cannot send Fault"):
        encode(Fault("x" * MAX_FRAME))


def test_a_smaller_limit_is_kept_by_both_sides() -> None:
    with pytest.raises(FrameTooLarge):
        encode(Fault("x" * 100), limit=64)
    with pytest.raises(FrameTooLarge):
        Decoder(FromWorker, limit=64).feed(encode(Fault("x" * 100)))


def test_what_stood_before_a_bad_frame_comes_with_the_error() -> None:
    decoder = Decoder(FromWorker)

    with pytest.raises(MalformedFrame) as caught:
        decoder.feed(encode(Hello(1, 2)) + encode(Drained()) + b"\x00\x00\x00\x01\xc1")

    assert caught.value.decoded == (Hello(1, 2), Drained())


def test_a_broken_stream_takes_nothing_more() -> None:
    decoder = Decoder(FromWorker)
    with pytest.raises(MalformedFrame):
        decoder.feed(b"\x00\x00\x00\x01\xc1")

    with pytest.raises(MalformedFrame, match="broken by an earlier frame"):
        decoder.feed(encode(Drained()))

    assert decoder.pending == 0


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xc0", id="nil"),
        pytest.param(encode(Spawned(1, 2))[PREFIX:] + b"\x00", id="something after the message"),
        pytest.param(encode(Unsafe(1, ["a"]))[PREFIX:-1] + b"\xff", id="bad UTF-8"),
        pytest.param(b"\x81\xa1x" + b"\x91" * 100_000, id="nested deeper than the stack"),
        pytest.param(
            encode(Unsafe(1, []))[PREFIX:-1] + b"\xdd\xff\xff\xff\xff", id="a list that lies"
        ),
    ],
)
def test_a_payload_that_is_no_message_is_malformed(payload: bytes) -> None:
    decoder = Decoder(FromWorker | Unsafe | Spawned)

    with pytest.raises(MalformedFrame, match="holds no message that is expected here"):
        decoder.feed(len(payload).to_bytes(PREFIX, "big") + payload)
