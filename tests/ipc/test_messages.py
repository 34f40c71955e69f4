"""The messages: which direction they go, what comes with them, what an older peer may leave out."""

import msgspec
import pytest

from ipc import messages
from ipc.errors import MalformedFrame
from ipc.framing import PREFIX, Decoder, encode

ALL = [
    member
    for member in vars(messages).values()
    if isinstance(member, type)
    and issubclass(member, messages.Message)
    and member is not messages.Message
]

BY_DIRECTION = {
    "down nursery": messages.ToNursery,
    "up nursery": messages.FromNursery,
    "down worker": messages.ToWorker,
    "up worker": messages.FromWorker,
}


def test_every_message_belongs_to_a_direction() -> None:
    directed = {member for union in BY_DIRECTION.values() for member in union.__args__}

    assert directed | {messages.FromKeeper} == set(ALL)


def test_a_message_from_the_wrong_side_is_malformed() -> None:
    decoder = Decoder(messages.ToWorker)

    with pytest.raises(MalformedFrame, match="Drained"):
        decoder.feed(encode(messages.Drained()))


def test_only_a_spawn_and_a_spawned_carry_descriptors() -> None:
    assert messages.descriptors_of(messages.Spawn(1, "host#1")) == 3
    assert messages.descriptors_of(messages.Spawned(1, 10)) == 1
    assert messages.descriptors_of(messages.Spawned(1, 10, has_pidfd=False)) == 0
    assert messages.descriptors_of(messages.Drained()) == 0


def test_unknown_fields_of_a_newer_peer_are_ignored() -> None:
    payload = msgspec.msgpack.encode({"type": "Retire", "invented_later": [1, {"a": None}]})

    frame = len(payload).to_bytes(PREFIX, "big") + payload

    assert Decoder(messages.ToNursery).feed(frame) == [messages.Retire()]


def test_fields_that_an_older_peer_does_not_know_have_defaults() -> None:
    payload = msgspec.msgpack.encode({"type": "Adopted", "consumer": "c", "moved": 2})

    frame = len(payload).to_bytes(PREFIX, "big") + payload

    assert Decoder(messages.FromWorker).feed(frame) == [messages.Adopted("c", 2)]


def test_the_longest_beat_fits_the_keepers_frame() -> None:
    beat = messages.KeeperBeat(
        counter=2**63, lag_seconds=1e300, blocking_key="k" * messages.MAX_BLOCKING_KEY
    )

    assert len(encode(beat)) <= messages.MAX_BEAT_FRAME
