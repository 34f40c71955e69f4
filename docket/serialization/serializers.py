"""The serializers of a docket: `pickle` stores any value, `msgpack` nothing but data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from docket.serialization import pickle_codec
from docket.serialization.msgpack_codec import MsgpackCodec
from docket.serialization.pickle_codec import Call

#: The function of a task: what it is called with and what it returns is encoded by its annotations.
Function = Callable[..., Any]


class Serializer(Protocol):
    """Payloads of a docket, as bytes and back."""

    def encode_call(
        self, function: Function, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> bytes:
        """What a task is called with.

        Raises:
            PayloadTooLarge: it is over the size limit.
            UnfitValue: an argument cannot be stored by this serializer.
            Exception: what pickle raises for a value that it cannot store.
        """
        ...

    def decode_call(self, function: Function, payload: bytes) -> Call:
        """What a task is called with. Raises DeserializationError."""
        ...

    def encode_result(self, function: Function, value: object) -> bytes | None:
        """What a task returned; None is stored as nothing. Raises as `encode_call` does."""
        ...

    def decode_result(self, function: Function, payload: bytes | None) -> object:
        """What a task returned. Raises DeserializationError."""
        ...

    def encode_error(self, error: BaseException) -> bytes:
        """The exception that a task failed with; never fails."""
        ...

    def decode_error(self, payload: bytes) -> BaseException:
        """The exception that a task failed with, or the DeserializationError that says why not."""
        ...


class PickleSerializer:
    """Stores any value, classes of scripts and closures included.

    Whoever can write to the server can run code in every process that reads from it.
    """

    def encode_call(
        self, function: Function, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> bytes:
        """See Serializer."""
        return pickle_codec.encode_call(args, kwargs)

    def decode_call(self, function: Function, payload: bytes) -> Call:
        """See Serializer."""
        return pickle_codec.decode_call(payload)

    def encode_result(self, function: Function, value: object) -> bytes | None:
        """See Serializer."""
        return pickle_codec.encode_result(value)

    def decode_result(self, function: Function, payload: bytes | None) -> object:
        """See Serializer."""
        return pickle_codec.decode_result(payload)

    def encode_error(self, error: BaseException) -> bytes:
        """See Serializer."""
        return pickle_codec.encode_error(error)

    def decode_error(self, payload: bytes) -> BaseException:
        """See Serializer."""
        return pickle_codec.decode_error(payload)


_SERIALIZERS: dict[str, Callable[[], Serializer]] = {
    "pickle": PickleSerializer,
    "msgpack": MsgpackCodec,
}


def serializer_named(name: str) -> Serializer:
    """A new serializer. Raises ValueError if there is none of that name."""
    make = _SERIALIZERS.get(name)
    if make is None:
        raise ValueError(f"serializer must be one of {', '.join(_SERIALIZERS)}, not {name!r}")
    return make()
