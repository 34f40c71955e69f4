"""The messages of the control socket: whole across the wire, and across versions."""

from typing import get_args

import msgspec
import pytest

from ipc import control
from ipc.control import (
    MAX_ANSWER,
    MAX_REQUEST,
    ControlHello,
    Done,
    DrainRequest,
    DumpRequest,
    FromClient,
    Refused,
    ReloadRequest,
    Report,
    RestartRequest,
    ScaleBetweenRequest,
    ScaleRequest,
    StatusRequest,
    ToClient,
)
from ipc.errors import FrameTooLarge, MalformedFrame
from ipc.framing import Decoder, encode

REQUESTS = (
    ControlHello(1, 12),
    StatusRequest(),
    ScaleRequest(3),
    ScaleBetweenRequest(2, 16),
    ReloadRequest(wait=False),
    DrainRequest(wait=True),
    RestartRequest(2),
    DumpRequest(),
)
ANSWERS = (ControlHello(1, 12, guest=True), Report("{}"), Done("done"), Refused("no"))


def frame(content: dict[str, object]) -> bytes:
    payload = msgspec.msgpack.encode(content)
    return len(payload).to_bytes(4, "big") + payload


@pytest.mark.parametrize("message", REQUESTS, ids=lambda each: type(each).__name__)
def test_a_request_arrives_as_it_was_sent(message: FromClient) -> None:
    assert Decoder(FromClient, MAX_REQUEST).feed(encode(message)) == [message]


@pytest.mark.parametrize("message", ANSWERS, ids=lambda each: type(each).__name__)
def test_an_answer_arrives_as_it_was_sent(message: ToClient) -> None:
    assert Decoder(ToClient, MAX_ANSWER).feed(encode(message)) == [message]


def test_every_message_of_the_protocol_is_tried_here() -> None:
    assert {type(each) for each in REQUESTS} == set(get_args(control.FromClient))
    assert {type(each) for each in ANSWERS} == set(get_args(control.ToClient))


def test_a_newer_client_may_say_more_and_an_older_one_less() -> None:
    decoder = Decoder(FromClient)
    newer = {"type": "Reload", "wait": True, "only_slot": 3}
    assert decoder.feed(frame(newer)) == [ReloadRequest()]
    assert decoder.feed(frame({"type": "Hello", "protocol": 1})) == [ControlHello(1)]
    assert decoder.feed(frame({"type": "Drain"})) == [DrainRequest(wait=False)]


def test_an_answer_is_no_request_and_a_request_no_answer() -> None:
    with pytest.raises(MalformedFrame):
        Decoder(FromClient).feed(encode(Done("done")))
    with pytest.raises(MalformedFrame):
        Decoder(ToClient).feed(encode(StatusRequest()))


def test_a_request_over_its_limit_is_refused_by_its_length() -> None:
    with pytest.raises(FrameTooLarge):
        Decoder(FromClient, MAX_REQUEST).feed((MAX_REQUEST + 1).to_bytes(4, "big"))


def test_a_report_of_the_largest_pool_fits() -> None:
    task = {"key": "k" * 100, "function": "f" * 50, "seconds": 12345.678}
    everything = msgspec.json.encode([[task] * 100] * 1024).decode()
    assert len(encode(Report(everything), MAX_ANSWER)) < MAX_ANSWER
