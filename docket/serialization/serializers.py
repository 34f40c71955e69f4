"""The serializers of a docket: `pickle` stores any value, `msgpack` only data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from docket.errors import DeserializationError
from docket.serialization import pickle_codec
from docket.serialization.msgpack_codec import MsgpackCodec
from docket.serialization.pickle_codec import Call

#: The function of a task; its annotations determine the encoding of arguments and result.
Function = Callable[..., Any]


class Serializer(Protocol):
    """The encoding and decoding of a docket's payloads."""

    def check(self, function: Function) -> None:
        """Check at registration that results can be stored. Raises UnfitValue if none ever can."""
        ...

    def encode_call(
        self, function: Function, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> bytes:
        """Encode the arguments of a task.

        Raises:
            PayloadTooLarge: they are over the size limit.
            UnfitValue: an argument cannot be stored by this serializer.
            Exception: any error of pickle for a value that it cannot store.
        """
        ...

    def decode_call(self, function: Function, payload: bytes) -> Call:
        """Decode the arguments of a task. Raises DeserializationError."""
        ...

    def encode_result(self, function: Function, value: object) -> bytes | None:
        """Encode the result of a task; None is not stored. Raises as `encode_call` does."""
        ...

    def decode_result(self, function: Function, payload: bytes | None) -> object:
        """Decode the result of a task. Raises DeserializationError."""
        ...

    def encode_error(self, error: BaseException) -> bytes:
        """Encode the exception of a failed task; never raises."""
        ...

    def decode_error(self, payload: bytes) -> BaseException:
        """Decode the exception of a failed task, or return a DeserializationError."""
        ...


class PickleSerializer:
    """A serializer for any value, including classes defined in scripts and closures.

    Anyone who can write to the server can run code in every process that reads from it.
    """

    def check(self, function: Function) -> None:
        """Accept any function."""

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


class WriteOnly:
    """A serializer that encodes as another one does and decodes nothing.

    For programs that look at a docket: they show no arguments, and run nothing that whoever wrote
    to it has put there.

    Args:
        serializer: the docket's.
    """

    def __init__(self, serializer: Serializer) -> None:
        self.check = serializer.check
        self.encode_call = serializer.encode_call
        self.encode_result = serializer.encode_result
        self.encode_error = serializer.encode_error

    def decode_call(self, function: Function, payload: bytes) -> Call:
        """Return a call without arguments."""
        return (), {}

    def decode_result(self, function: Function, payload: bytes | None) -> object:
        """Raise DeserializationError."""
        raise self._refusal("result")

    def decode_error(self, payload: bytes) -> BaseException:
        """Return a DeserializationError."""
        return self._refusal("exception")

    def _refusal(self, what: str) -> DeserializationError:
        return DeserializationError(f"The {what} is not read by a program that only looks")


_SERIALIZERS: dict[str, Callable[[], Serializer]] = {
    "pickle": PickleSerializer,
    "msgpack": MsgpackCodec,
}


def serializer_named(name: str) -> Serializer:
    """Return a new serializer. Raises ValueError if there is none of that name."""
    make = _SERIALIZERS.get(name)
    if make is None:
        raise ValueError(f"serializer must be one of {', '.join(_SERIALIZERS)}, not {name!r}")
    return make()
