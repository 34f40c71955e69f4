"""Frames: a 4-byte big-endian length, then that many bytes of msgpack. No I/O.

A decoder is fed bytes as they arrive, split anywhere, and returns whole messages. Whatever the
bytes, feeding them raises only FrameError, and at most one incomplete frame is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import UnionType
from typing import Final, Generic, TypeVar, cast

import msgspec

from ipc.errors import FrameTooLarge, MalformedFrame
from ipc.messages import MAX_FRAME, Message

#: Bytes of the length before each payload.
PREFIX: Final = 4

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()

#: Everything msgspec raises on bad input: its own errors, and those caused by invalid UTF-8, by
#: nesting deeper than the interpreter's stack, and by a container that claims more items than
#: memory can hold.
_DECODE_ERRORS: Final = (msgspec.MsgspecError, ValueError, RecursionError, MemoryError)


# One for all peers of a kind: it keeps nothing of a message, and is made from annotations, which a
# nursery reads for its workers.
@cache
def _decode_of(receives: type | UnionType) -> Callable[[bytes], object]:
    return msgspec.msgpack.Decoder(cast(type, receives)).decode


def encode(message: Message, limit: int = MAX_FRAME) -> bytes:
    """Encode one message as one frame.

    Raises FrameTooLarge when its payload is over `limit` bytes: senders bound their messages.
    """
    payload = _encoder.encode(message)
    if len(payload) > limit:
        raise FrameTooLarge(
            f"cannot send {type(message).__name__}: {len(payload)} bytes are over the limit of "
            f"{limit}; the message is not sent"
        )
    return len(payload).to_bytes(PREFIX, "big") + payload


class Decoder(Generic[T]):
    """A decoder for the byte stream of one peer.

    `receives` is the union of the messages that the peer may send; `limit` is the maximum payload
    in bytes. After a FrameError the frame boundaries are unknown: the decoder discards its buffer
    and refuses everything that follows, so the channel must be closed.
    """

    def __init__(self, receives: type[T] | UnionType, limit: int = MAX_FRAME) -> None:
        # A type checker does not take a union for a type, so the caller declares T.
        self._decode = cast(Callable[[bytes], T], _decode_of(receives))
        self._limit = limit
        self._buffer = bytearray()
        self._broken = False

    @property
    def pending(self) -> int:
        """The bytes held of an incomplete frame; over 0 at the end of the stream: torn."""
        return len(self._buffer)

    def feed(self, data: bytes | bytearray | memoryview) -> list[T]:
        """Add `data` and return the messages it completes.

        Raises FrameTooLarge as soon as a length prefix is over the limit, and MalformedFrame for
        a payload that is not an expected message; `decoded` of the error holds the messages
        before it.
        """
        if self._broken:
            raise MalformedFrame("the stream was broken by an earlier frame; nothing can follow")
        self._buffer += data
        messages: list[T] = []
        start = 0
        try:
            while (end := self._frame_end(start, messages)) is not None:
                messages.append(self._message(start + PREFIX, end, messages))
                start = end
        except (FrameTooLarge, MalformedFrame):
            self._broken = True
            self._buffer.clear()
            raise
        del self._buffer[:start]
        return messages

    def _frame_end(self, start: int, before: list[T]) -> int | None:
        """Return the end of the frame that begins at `start`, or None while it is incomplete."""
        if len(self._buffer) - start < PREFIX:
            return None
        length = int.from_bytes(self._buffer[start : start + PREFIX], "big")
        if length > self._limit:
            raise FrameTooLarge(
                f"a frame of {length} bytes was announced, over the limit of {self._limit}; "
                "the stream is not of this protocol",
                before,
            )
        end = start + PREFIX + length
        return end if end <= len(self._buffer) else None

    def _message(self, start: int, end: int, before: list[T]) -> T:
        try:
            return self._decode(bytes(self._buffer[start:end]))
        except _DECODE_ERRORS as error:
            raise MalformedFrame(
                f"a frame of {end - start} bytes holds no message that is expected here: {error}",
                before,
            ) from error
