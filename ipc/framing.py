"""Frames: a 4-byte big-endian length, then that many bytes of msgpack. No I/O.

Bytes go in as they come, cut anywhere; messages come out whole. Whatever the bytes are, feeding
them raises FrameError or nothing, and a decoder never keeps more than one frame.
"""

from __future__ import annotations

from collections.abc import Callable
from types import UnionType
from typing import Final, Generic, TypeVar, cast

import msgspec

from ipc.errors import FrameTooLarge, MalformedFrame
from ipc.messages import MAX_FRAME, Message

#: Bytes of the length before each payload.
PREFIX: Final = 4

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()

#: All that msgspec raises on input: its own, and what escapes from bad UTF-8, from nesting deeper
#: than the interpreter's stack, and from a container that claims more items than there is memory.
_REFUSALS: Final = (msgspec.MsgspecError, ValueError, RecursionError, MemoryError)


def encode(message: Message, limit: int = MAX_FRAME) -> bytes:
    """One message as one frame.

    Raises FrameTooLarge when its payload is over `limit` bytes: the sender bounds what it says.
    """
    payload = _encoder.encode(message)
    if len(payload) > limit:
        raise FrameTooLarge(
            f"cannot send {type(message).__name__}: {len(payload)} bytes are over the limit of "
            f"{limit}; the message is not sent"
        )
    return len(payload).to_bytes(PREFIX, "big") + payload


class Decoder(Generic[T]):
    """Takes apart what one peer sends.

    `receives` is the union of messages that may come; `limit` the bytes of a payload, at most.
    After a FrameError the stream has no known frame boundary: the decoder holds nothing more and
    refuses all that follows, so the channel is to be closed.
    """

    def __init__(self, receives: type[T] | UnionType, limit: int = MAX_FRAME) -> None:
        # A union is no type to a type checker, so T is what the caller declares.
        self._decode: Callable[[bytes], T] = msgspec.msgpack.Decoder(cast(type[T], receives)).decode
        self._limit = limit
        self._buffer = bytearray()
        self._broken = False

    @property
    def pending(self) -> int:
        """Bytes held of a frame that is not whole yet; over 0 at the end of the stream: torn."""
        return len(self._buffer)

    def feed(self, data: bytes | bytearray | memoryview) -> list[T]:
        """The messages that `data` completes.

        Raises FrameTooLarge as soon as a length prefix is over the limit, MalformedFrame for a
        payload that is none of ours; their `decoded` has the messages that stood before.
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
        """Where the frame that begins at `start` ends, or None when it is not whole yet."""
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
        except _REFUSALS as error:
            raise MalformedFrame(
                f"a frame of {end - start} bytes holds no message that is expected here: {error}",
                before,
            ) from error
