"""Payloads as msgpack: data and nothing executable, decoded into what the tasks are annotated with.

For those who share a server with others: to read a pickle is to run what its writer wants to be
run. Nothing here unpickles, whatever it is given.

What arrives is what was sent: an argument that msgpack would turn into something else (a tuple
without an annotation into a list, a UUID for a `str` into its text) is refused when it is stored,
where its sender is there to hear it.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any, cast
from weakref import WeakKeyDictionary

import msgspec

from docket.annotations import parameter_types, result_type
from docket.errors import DeserializationError, TaskError, UnfitValue
from docket.serialization.pickle_codec import Call, check_size, error_message
from docket.serialization.round_trip import difference

#: What our payloads begin with: no msgpack begins so (0xC1 is not used), nor does any pickle.
_HEADER = b"\xc1\x01"
#: What a pickle begins with since protocol 2.
_PICKLE_HEADER = b"\x80"

_RawCall = tuple[list[msgspec.Raw], dict[str, msgspec.Raw]]
_encoder = msgspec.msgpack.Encoder()
_call_decoder = msgspec.msgpack.Decoder(_RawCall)
_EMPTY_CALL = _HEADER + _encoder.encode(((), {}))


class _Failure(msgspec.Struct, frozen=True, array_like=True):
    """An exception as it is stored: nothing of it can be executed."""

    type_name: str
    message: str
    traceback_text: str


_failure_decoder = msgspec.msgpack.Decoder(_Failure)


class _Slot:
    """One place for a value, a parameter or the result, with the type that it is annotated with."""

    def __init__(self, described: str, annotation: Any) -> None:
        self._described = described
        self._annotation = annotation
        self._decoder: msgspec.msgpack.Decoder[Any] | None = None

    def encode(self, value: object) -> bytes:
        """The value as msgpack. Raises UnfitValue unless decoding it gives the same value."""
        try:
            encoded = _encoder.encode(value)
            found = difference(value, self.decode(encoded))
        except DeserializationError as error:
            raise UnfitValue(f"{self._described} does not fit: {error.__cause__}") from error
        except Exception as error:
            # Of a value of any kind: what it holds may be recursive, too large, or raise itself.
            raise UnfitValue(
                f"{self._described} cannot be stored as msgpack: {type(error).__name__}: {error}"
            ) from error
        if found is not None:
            raise UnfitValue(
                f"{self._described} does not fit: {found}. Annotate the parameter (or the result) "
                "with the type that is passed"
            )
        return encoded

    def decode(self, encoded: bytes | memoryview | msgspec.Raw) -> Any:
        """The value again. Raises DeserializationError."""
        try:
            if self._decoder is None:
                self._decoder = msgspec.msgpack.Decoder(self._annotation)
            return self._decoder.decode(encoded)
        except Exception as error:
            # Types of the user are constructed here: anything can come out of it.
            raise DeserializationError(
                f"{self._described} is stored as something else than what its annotation says: "
                f"{type(error).__name__}: {error}"
            ) from error


class _Shape:
    """What one function takes and returns."""

    def __init__(self, function: Callable[..., Any]) -> None:
        name = getattr(function, "__name__", repr(function))
        types = parameter_types(function)
        self._task = name
        self._by_position = [self._slot(p, types.named[p]) for p in types.positional]
        self._by_name = {p: self._slot(p, t) for p, t in types.named.items()}
        self._rest = self._slot(types.rest or "args", types.rest_type)
        self._rest_by_name: dict[str, _Slot] = {}
        self._rest_by_name_type = types.rest_by_name_type
        self.result = _Slot(f"The result of task {name!r}", result_type(function))

    def _slot(self, parameter: str, annotation: Any) -> _Slot:
        return _Slot(f"Argument {parameter!r} of task {self._task!r}", annotation)

    def at(self, position: int) -> _Slot:
        """Where a positional argument goes."""
        return self._by_position[position] if position < len(self._by_position) else self._rest

    def named(self, name: str) -> _Slot:
        """Where a keyword argument goes."""
        return self._by_name.get(name) or self._slot(name, self._rest_by_name_type)


class MsgpackCodec:
    """The serializer `msgpack`."""

    def __init__(self) -> None:
        # Weak: a fallback or a closure may come and go.
        self._shapes: WeakKeyDictionary[Callable[..., Any], _Shape] = WeakKeyDictionary()

    def encode_call(
        self,
        function: Callable[..., Any],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> bytes:
        """The arguments of a task.

        Raises:
            UnfitValue: one does not fit its parameter; the message has its name.
            PayloadTooLarge: together they are over the size limit.
        """
        if not args and not kwargs:
            return _EMPTY_CALL
        shape = self._shape(function)
        call = (
            [msgspec.Raw(shape.at(i).encode(value)) for i, value in enumerate(args)],
            {name: msgspec.Raw(shape.named(name).encode(v)) for name, v in kwargs.items()},
        )
        return check_size(_HEADER + _encoder.encode(call), "The call's arguments")

    def decode_call(self, function: Callable[..., Any], payload: bytes) -> Call:
        """The arguments of a task, as its parameters are annotated. Raises DeserializationError."""
        if payload == _EMPTY_CALL:
            return (), {}
        args, kwargs = cast("_RawCall", _decoded(_call_decoder, payload, "arguments"))
        shape = self._shape(function)
        return (
            tuple([shape.at(i).decode(raw) for i, raw in enumerate(args)]),
            {name: shape.named(name).decode(raw) for name, raw in kwargs.items()},
        )

    def encode_result(self, function: Callable[..., Any], value: object) -> bytes | None:
        """What a task returned; None is stored as nothing. Raises as `encode_call` does."""
        if value is None:
            return None
        encoded = self._shape(function).result.encode(value)
        return check_size(_HEADER + encoded, "The task's result")

    def decode_result(self, function: Callable[..., Any], payload: bytes | None) -> object:
        """What a task returned, as its function is annotated. Raises DeserializationError."""
        if payload is None:
            return None
        return self._shape(function).result.decode(_body(payload, "result"))

    def encode_error(self, error: BaseException) -> bytes:
        """An exception, as its type's name, its message and its traceback's text."""
        if isinstance(error, TaskError):
            failure = _Failure(error.type_name, error.message, error.traceback_text)
        else:
            text = "".join(traceback.format_exception(error))[-65536:]
            text = text.encode(errors="replace").decode()
            failure = _Failure(type(error).__qualname__, error_message(error)[:4096], text)
        return _HEADER + _encoder.encode(failure)

    def decode_error(self, payload: bytes) -> BaseException:
        """A TaskError that says what the task failed with; or why that cannot be told."""
        try:
            failure: _Failure = _decoded(_failure_decoder, payload, "exception")
        except DeserializationError as error:
            return error
        return TaskError(failure.type_name, failure.message, failure.traceback_text)

    def _shape(self, function: Callable[..., Any]) -> _Shape:
        try:
            shape = self._shapes.get(function)
        except TypeError:
            return _Shape(function)  # A callable object that cannot be hashed or referred to.
        if shape is None:
            shape = self._shapes[function] = _Shape(function)
        return shape


def _body(payload: bytes, what: str) -> memoryview:
    if payload.startswith(_HEADER):
        return memoryview(payload)[len(_HEADER) :]
    if payload.startswith(_PICKLE_HEADER):
        raise DeserializationError(
            f"What is stored as {what} is a pickle, and this docket reads msgpack only: whoever "
            "wrote it uses serializer='pickle'. It was not unpickled"
        )
    raise DeserializationError(f"What is stored as {what} was not written by serializer='msgpack'")


def _decoded(decoder: msgspec.msgpack.Decoder[Any], payload: bytes, what: str) -> Any:
    try:
        return decoder.decode(_body(payload, what))
    except msgspec.DecodeError as error:
        raise DeserializationError(
            f"What is stored as {what} cannot be read back: {error}"
        ) from error
